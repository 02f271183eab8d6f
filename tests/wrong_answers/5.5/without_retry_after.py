# earns: of chapter 4 has both
import asyncio
from fastapi import FastAPI, Request
from starlette.types import ASGIApp, Receive, Scope, Send
from .errors import problem


class Admission:
    """At most `limit` POST requests at a time: one more waits `patience` seconds, its body unread, then gets 503.

    An ASGI layer: what it refuses costs no parsing, and other methods (`/health`, `/metrics`) pass it by.
    """

    def __init__(self, app: ASGIApp, limit: int, patience: float) -> None:
        self._app, self._patience = app, patience
        self._places = asyncio.Semaphore(limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return await self._app(scope, receive, send)
        try:
            async with asyncio.timeout(self._patience):
                await self._places.acquire()
        except TimeoutError:
            refusal = problem(Request(scope), 503, "The service is full; try again.")
            return await refusal(scope, receive, send)
        try:
            await self._app(scope, receive, send)
        finally:
            self._places.release()


def install(app: FastAPI) -> None:
    """Classify in batches, and let no more in than can be done."""
    settings = app.state.settings
    app.state.engine = batched
    app.add_middleware(Admission, limit=settings.max_in_flight, patience=settings.patience)
