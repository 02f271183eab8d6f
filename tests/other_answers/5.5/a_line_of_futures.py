# another design: a count of the free places and a line of futures, each of which is handed a place
import asyncio
from fastapi import FastAPI, Request
from collections import deque
from starlette.types import ASGIApp, Receive, Scope, Send
from .errors import problem


class Admission:
    """At most `limit` POST requests at a time: one more waits `patience` seconds, its body unread, then gets 503.

    An ASGI layer: what it refuses costs no parsing, and other methods (`/health`, `/metrics`) pass it by.
    """

    def __init__(self, app: ASGIApp, limit: int, patience: float) -> None:
        self._app, self._patience = app, patience
        self._free = limit
        self._line: deque[asyncio.Future[None]] = deque()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
        elif await self._enter():
            try:
                await self._app(scope, receive, send)
            finally:
                self._leave()
        else:
            await problem(Request(scope), 503, "The service is full; try again.", headers={"Retry-After": "1"})(
                scope, receive, send
            )

    async def _enter(self) -> bool:
        if self._free:
            self._free -= 1
            return True
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            await asyncio.wait({turn}, timeout=self._patience)
        except asyncio.CancelledError:
            if turn.done():
                self._leave()
            raise
        finally:
            if not turn.done():
                self._line.remove(turn)
        return turn.done()

    def _leave(self) -> None:
        if self._line:
            self._line.popleft().set_result(None)
        else:
            self._free += 1


def install(app: FastAPI) -> None:
    """Classify in batches, and let no more in than can be done."""
    settings = app.state.settings
    app.state.engine = batched
    app.add_middleware(Admission, limit=settings.max_in_flight, patience=settings.patience)
