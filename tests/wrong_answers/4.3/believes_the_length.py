# earns: small enough is taken for the truth
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
        headers = Headers(scope=scope)
        limit, received = room(headers, self._limit), 0
        detail = f"The body has more than {limit:,} bytes."
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:18]) > limit:  # int() refuses thousands of digits
            return await problem(Request(scope), 413, detail)(scope, receive, send)

        if declared:
            return await self._app(scope, receive, send)

        async def counting() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, detail)  # FastAPI lets this one pass while it reads a form
            return message

        await self._app(scope, counting, send)
