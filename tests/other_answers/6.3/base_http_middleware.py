# another design: Starlette's BaseHTTPMiddleware, no regular expression, ids of secrets
import secrets
import string
from contextvars import ContextVar

from fastapi import FastAPI, Request, Response
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint

current_id: ContextVar[str] = ContextVar("request_id", default="")
_ALLOWED = frozenset(string.ascii_letters + string.digits + "._-")


def choose_id(given: str | None) -> str:
    if not given or len(given) > 64 or not _ALLOWED.issuperset(given):
        return secrets.token_urlsafe(12)
    return given


class Identify(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        request.state.request_id = choose_id(request.headers.get("x-request-id"))
        current_id.set(request.state.request_id)
        response = await call_next(request)
        response.headers["X-Request-ID"] = request.state.request_id
        return response


def install(app: FastAPI) -> None:
    app.state.metrics = Metrics()
    app.state.engine = measured(app.state.engine, app.state.metrics)
    app.add_middleware(Watch, metrics=app.state.metrics)
    app.add_middleware(Identify)
