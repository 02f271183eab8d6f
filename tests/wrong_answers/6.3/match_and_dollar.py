# earns: a line break at the end, before which $ matches
import re
import uuid
from contextvars import ContextVar

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

current_id: ContextVar[str] = ContextVar("request_id", default="")


def choose_id(given: str | None) -> str:
    """The client's X-Request-ID if it is sound (1 to 64 letters, digits, dots, dashes, underscores), else a new one."""
    return given if given and re.match(r"^[A-Za-z0-9._-]{1,64}$", given) else uuid.uuid4().hex


class Identify:
    """An ASGI layer that gives every request its id: for the log lines, the error bodies, and the answer's header."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        chosen = choose_id(Headers(scope=scope).get("x-request-id"))
        current_id.set(chosen)  # this task's, and through it that of its threads and background tasks
        scope.setdefault("state", {})["request_id"] = chosen

        async def identified(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-ID"] = chosen
            await send(message)

        await self._app(scope, receive, identified)


def install(app: FastAPI) -> None:
    """Measure the engine, and watch every request from outside of everything else."""
    app.state.metrics = Metrics()
    app.state.engine = measured(app.state.engine, app.state.metrics)
    app.add_middleware(Watch, metrics=app.state.metrics)
    app.add_middleware(Identify)
