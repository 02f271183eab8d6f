"""An app at work in this process, without a socket: what a check's requests go through."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from labserve import standins


@dataclass
class Exchange:
    """A request under way. `gone` is set when the client leaves; `sent_bytes` of its body were asked for."""

    gone: asyncio.Event = field(default_factory=asyncio.Event)
    raised: BaseException | None = None
    sent_bytes: int = 0
    seconds: float = 0.0
    response: "asyncio.Task[Any]" = field(init=False)


class Running:
    """An app with its lifespan, and a client that talks to it without a socket."""

    def __init__(self, app: Any) -> None:
        import httpx2

        self._app = app
        self._exchange: ContextVar[Exchange] = ContextVar("exchange")
        transport = httpx2.ASGITransport(app=self._watched, raise_app_exceptions=False)
        self._client = httpx2.AsyncClient(transport=transport, base_url="http://testserver")
        self._entered: list[standins.Entered] = []
        self._state: dict[str, Any] = {}

    async def enter(self, lifespan: Any) -> None:
        self._entered.append(await standins.enter(lifespan))
        self._state |= self._entered[-1].value or {}

    async def stop(self) -> None:
        for entered in reversed(self._entered):
            with contextlib.suppress(BaseException):  # what is raised at the end is nobody's question
                await entered.leave()
        await self._client.aclose()

    def send(self, request: dict[str, Any]) -> Exchange:
        """Begin a request."""
        exchange = Exchange()
        request["files"] = [(name, tuple(parts)) for name, *parts in request["files"]] or None
        if (chunks := request.pop("chunks")) is not None:
            request["content"] = _one_by_one(chunks)
        exchange.response = asyncio.create_task(self._answer(exchange, request))
        return exchange

    async def _answer(self, exchange: Exchange, request: dict[str, Any]) -> Any:
        self._exchange.set(exchange)
        started = time.perf_counter()
        try:
            return await self._client.request(**request)
        finally:
            exchange.seconds = time.perf_counter() - started

    async def _watched(self, scope: Any, receive: Any, send: Any) -> None:
        """The app, keeping what it raises, so that a check can say more than "500"; and how it deals with the body."""
        exchange, status, whole = self._exchange.get(), 0, False

        async def receiving() -> Any:
            message = await _first(receive, exchange.gone)
            exchange.sent_bytes += len(message.get("body", b""))
            return message

        async def sending(message: Any) -> None:
            nonlocal status, whole
            status = message.get("status", status)
            whole = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        try:
            await self._app({**scope, "state": dict(self._state)}, receiving, sending)
            if not whole and not exchange.gone.is_set():
                raise RuntimeError("the app ended before its answer did")
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            exchange.raised = error
            raise RuntimeError("the app raised") from error
        if not whole:  # nobody is there to miss it
            if not status:
                await send({"type": "http.response.start", "status": 499})
            await send({"type": "http.response.body"})


async def _first(receive: Any, gone: asyncio.Event) -> Any:
    """The next message of the client; that it has left, as soon as it has."""
    waits = [asyncio.ensure_future(gone.wait()), asyncio.ensure_future(receive())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        return {"type": "http.disconnect"} if gone.is_set() else waits[1].result()
    finally:
        for wait in waits:
            wait.cancel()


async def _one_by_one(chunks: Sequence[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
