# another design: the length is tried as an int; the layer answers by itself where the answer has not begun
from fastapi import Request
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


def room(headers: Headers, limit: int) -> int:
    """How many bytes a body may have: only an upload needs `limit`; 64 KiB are plenty for anything else, such as JSON.

    (Ten megabytes of JSON with a million unknown fields keep a validator busy for 13 seconds, in 2 GB.)
    """
    return limit if headers.get("content-type", "").startswith("multipart/form-data") else min(limit, 2**16)


class BodyLimit:
    """An ASGI layer: a body for which there is no `room` within `limit` is refused with 413 as soon as that is known.

    One that says its length is not read at all, any other only as far as there is room. (Starlette's own layer of this
    kind answers in plain text.)
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        request, total, begun = Request(scope), 0, False
        limit = room(request.headers, self._limit)
        too_large = HTTPException(413, f"More than {limit} bytes.")
        try:
            said = int(request.headers.get("content-length", "0"))
        except ValueError:
            said = 0
        if said > limit:
            return await problem(request, 413, str(too_large.detail))(scope, receive, send)

        async def counting() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body") or b"")
            if total > limit:
                raise too_large
            return message

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            return await self._app(scope, counting, noting)
        except HTTPException as error:
            if begun or error is not too_large:
                raise
            return await problem(request, 413, str(error.detail))(scope, receive, send)
