# another design: a context manager that tells when everything is over, no inner function but one
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi.routing import iter_route_contexts
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def template(scope: Scope) -> str:
    matches = [(route.matches(scope)[0], route) for route in iter_route_contexts(scope["app"].routes)]
    for wanted in (Match.FULL, Match.PARTIAL):
        for match, route in matches:
            if match is wanted:
                return str(route.path)
    return "unmatched"


class Watch:
    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    @contextmanager
    def told(self, scope: Scope) -> Iterator[dict[str, int]]:
        seen, start = {"status": 500}, time.monotonic()
        method = "other" if scope["method"] not in METHODS else scope["method"]
        labels = {"method": method, "route": template(scope)}
        try:
            with self.metrics.in_flight.track_inprogress(), self.metrics.duration.labels(**labels).time():
                yield seen
        finally:
            self.metrics.requests.labels(**labels, **seen).inc()
            spent = {"path": scope["path"], "duration_ms": int(1000 * (time.monotonic() - start))}
            logging.getLogger("labserve.access").log(logging.INFO, "request", extra={**labels, **seen, **spent})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            with self.told(scope) as seen:

                async def noting(message: Message) -> None:
                    seen["status"] = message.get("status", seen["status"])
                    await send(message)

                await self.app(scope, receive, noting)
        else:
            await self.app(scope, receive, send)
