# earns: count in a finally, with the status 500, and do not catch it
import logging
import time

from fastapi.routing import iter_route_contexts
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def template(scope: Scope) -> str:
    """The path as it is written in the code, /models/{model_name}; "unmatched" for one that leads nowhere.

    Asked of the app's routes, as a request that was refused on its way has not come to its route.
    """
    found = "unmatched"
    for route in iter_route_contexts(scope["app"].routes):
        match, _ = route.matches(scope)
        if match is Match.FULL:
            return str(route.path)
        if match is Match.PARTIAL:  # the path is right, the method is not
            found = str(route.path)
    return found


class Watch:
    """An ASGI layer that counts and times every request, and logs one line for it as its answer ends."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started, status, told = time.perf_counter(), 500, False
        route = template(scope)  # now, as a mounted app changes the scope
        self._metrics.in_flight.inc()

        def tell() -> None:
            nonlocal told
            if not told:
                told = True
                self._metrics.in_flight.dec()
                self._record(scope, route, status, time.perf_counter() - started)

        async def watching(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body" and not message.get("more_body"):
                tell()  # first, so that a client that has its answer finds it counted
            await send(message)

        try:
            await self._app(scope, receive, watching)
        except Exception:
            tell()

    def _record(self, scope: Scope, route: str, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._metrics.requests.labels(method, route, status).inc()
        self._metrics.duration.labels(method, route).observe(seconds)
        fields = {"method": method, "route": route, "path": scope["path"], "status": status}
        logging.getLogger("labserve.access").info("request", extra=fields | {"duration_ms": round(seconds * 1000, 2)})
