# another design: headers as the pairs of bytes that ASGI has
import re
import uuid
from contextvars import ContextVar

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

current_id: ContextVar[str] = ContextVar("request_id", default="")


def choose_id(given: str | None) -> str:
    return given if re.fullmatch("[a-z0-9_.-]{1,64}", given or "", re.I | re.A) else str(uuid.uuid4())


class Identify:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            chosen = choose_id(dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1"))
            scope["state"] = {**scope.get("state", {}), "request_id": chosen}
            current_id.set(chosen)

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                rest = [pair for pair in message.get("headers", []) if pair[0].lower() != b"x-request-id"]
                message = {**message, "headers": [*rest, (b"x-request-id", scope["state"]["request_id"].encode())]}
            await send(message)

        await self.app(scope, receive, marked if scope["type"] == "http" else send)


def install(app: FastAPI) -> None:
    app.state.metrics = Metrics()
    app.state.engine = measured(app.state.engine, app.state.metrics)
    app.add_middleware(Watch, metrics=app.state.metrics)
    app.add_middleware(Identify)
