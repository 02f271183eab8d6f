"""Chapter 6: what the service did, in numbers for Prometheus and in lines of JSON, both with the request's id."""

import asyncio
import json
import logging
import math
import os
import re
import reprlib
import time
import uuid
from collections import Counter as Tally
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import psutil  # type: ignore[import-untyped]
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import iter_route_contexts
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families
from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .concurrency import watch_lag
from .errors import Classified, ServiceError

# exercise 6.1
MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client keeps its numbers there, for all workers, if it is set


class Metrics:
    """The metrics of one app, in a registry of its own: two apps, a reload or a test never collide.

    Every label has few values, none of which a client can invent. Seconds and shares are plain, not ms or percent.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        quick = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)  # seconds: of a lookup up to a stall
        tenths = tuple(share / 10 for share in range(1, 11))
        self.predictions = Counter("ml_predictions", "Predictions asked for", ["model", "status"], registry=registry)
        self.latency = Histogram(
            "ml_prediction_latency_seconds", "From upload to result", ["model"], buckets=quick, registry=registry
        )
        self.confidence = Histogram(
            "ml_prediction_confidence", "Probability of the top class", ["model"], buckets=tenths, registry=registry
        )
        self.batch_size = Histogram(
            "ml_batch_size", "Pictures in a run of the model", buckets=(1, 2, 4, 8, 16, 32), registry=registry
        )
        self.requests = Counter("http_requests", "Requests answered", ["method", "route", "status"], registry=registry)
        self.duration = Histogram(
            "http_request_duration_seconds", "Whole requests", ["method", "route"], buckets=quick, registry=registry
        )
        self.in_flight = Gauge(
            "http_requests_in_flight", "Requests at work", multiprocess_mode="livesum", registry=registry
        )
        self.waiting = Gauge(
            "ml_queue_length", "Pictures that wait for the model", multiprocess_mode="livesum", registry=registry
        )
        self.lag = Gauge(
            "event_loop_lag_seconds", "How late the loop last came back", multiprocess_mode="livemax", registry=registry
        )
        ProcessCollector(registry=registry)

    def exposition(self) -> bytes:
        """The text that Prometheus reads; of all workers, if they share a PROMETHEUS_MULTIPROC_DIR."""
        registry = self.registry
        if folder := os.environ.get(MULTIPROCESS):
            for file in Path(folder).glob("gauge_live*.db"):  # a worker that was killed has nothing in flight any more
                process = file.stem.rpartition("_")[2]
                if process.isdecimal() and not psutil.pid_exists(int(process)):
                    file.unlink(missing_ok=True)
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


Engine = Callable[[Request, bytes], Awaitable[Classified]]


def measured(engine: Engine, metrics: Metrics) -> Engine:
    """The same engine, with every prediction counted, timed, and its confidence observed."""

    async def measuring(request: Request, data: bytes) -> Classified:
        model = getattr(getattr(request.app.state, "classifier", None), "name", "none")
        started, status = time.perf_counter(), "error"
        try:
            seen = await engine(request, data)
            status = "success"
        except ServiceError as error:
            status = "refused" if error.status < 500 else "error"
            raise
        finally:
            metrics.predictions.labels(model, status).inc()
            metrics.latency.labels(model).observe(time.perf_counter() - started)
        metrics.confidence.labels(model).observe(float(seen.probabilities.max()))
        return seen

    return measuring


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Watch the loop, the queue and the batches for as long as the app runs, and log in JSON."""
    metrics, batcher = app.state.metrics, app.state.batcher
    batcher.on_batch = metrics.batch_size.observe

    def report(lag: float) -> None:
        metrics.lag.set(lag)
        metrics.waiting.set(batcher.waiting)

    watcher = asyncio.create_task(watch_lag(report))
    try:
        with json_logs(app.state.settings.log_level):
            yield
    finally:
        watcher.cancel()


router = APIRouter(lifespan=lifespan)


@router.get("/metrics", include_in_schema=False)
def exposition(request: Request) -> Response:
    """What Prometheus scrapes."""
    return Response(request.app.state.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


# exercise 6.2
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
        finally:
            tell()  # if there was no answer

    def _record(self, scope: Scope, route: str, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._metrics.requests.labels(method, route, status).inc()
        self._metrics.duration.labels(method, route).observe(seconds)
        fields = {"method": method, "route": route, "path": scope["path"], "status": status}
        logging.getLogger("labserve.access").info("request", extra=fields | {"duration_ms": round(seconds * 1000, 2)})


# exercise 6.3
current_id: ContextVar[str] = ContextVar("request_id", default="")


def choose_id(given: str | None) -> str:
    """The client's X-Request-ID if it is sound (1 to 64 letters, digits, dots, dashes, underscores), else a new one."""
    return given if given and re.fullmatch(r"[A-Za-z0-9._-]{1,64}", given) else uuid.uuid4().hex


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


# exercise 6.4
SECRET = re.compile(r"authorization|cookie|passw|secret|token|api.?key", re.IGNORECASE)
SHORT = reprlib.Repr()  # a repr that never raises, and is cut
SHORT.maxother = 200


def plain(value: Any, name: str = "", depth: int = 0) -> Any:
    """What JSON can hold of a value: what its name calls a secret is hidden, and of bytes only the number is told."""
    if SECRET.search(name):
        return "[hidden]"
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case str():
            return value.encode("utf-8", "replace").decode()  # half a surrogate pair is no text
        case bytes() | bytearray() | memoryview():
            return f"[{len(value)} bytes]"
        case Mapping() | list() | tuple() | set() | frozenset() if depth > 4:
            return "[nested too deep]"
        case Mapping():
            return {plain(str(key)): plain(item, str(key), depth + 1) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item, name, depth + 1) for item in value]
    return SHORT.repr(value)


def said(record: logging.LogRecord) -> str:
    """The message with its arguments in their places, or beside it if they do not fit."""
    args = record.args
    if isinstance(args, tuple):
        args = tuple(plain(arg) if isinstance(arg, bytes) else arg for arg in args)
    try:
        return str(plain(str(record.msg) % args if args else str(record.msg)))
    except Exception:
        return f"{plain(record.msg)} {plain(args)}"


class JsonFormatter(logging.Formatter):
    """One line of JSON for a record, its `extra` fields included."""

    known = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": said(record),
            "request_id": current_id.get() or None,
        }
        if record.exc_info and record.exc_info[0]:
            line["exception"] = plain(self.formatException(record.exc_info))
        for name, value in vars(record).items():
            if name not in self.known:
                line[f"{name}_" if name in line else name] = plain(value, name)
        return json.dumps(line)


@contextmanager
def json_logs(level: str, stream: TextIO | None = None) -> Iterator[None]:
    """Write all log lines as JSON, the server's own among them; its access log rests, as `Watch` has one."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root, server, access = (logging.getLogger(name) for name in ("", "uvicorn", "uvicorn.access"))
    before = root.level, server.handlers, server.propagate, access.disabled
    handler.setLevel(level)
    root.addHandler(handler)
    root.setLevel(level)
    server.handlers, server.propagate, access.disabled = [], True, True
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.level, server.handlers, server.propagate, access.disabled = before


# exercise 6.5
def requests_counted(exposition: str) -> Tally[tuple[str, str, str]]:
    """How often each (method, route, status) was counted in `http_requests_total`; those of /metrics left out."""
    told: Tally[tuple[str, str, str]] = Tally()
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if sample.name == "http_requests_total" and sample.labels["route"] != "/metrics":
                told[sample.labels["method"], sample.labels["route"], sample.labels["status"]] = int(sample.value)
    return told


def verify_join(sent: Mapping[str, int], lines: Sequence[Mapping[str, Any]], before: str, after: str) -> None:
    """Raise AssertionError, with the reason, unless log and counters tell the same story as the client.

    `sent` maps the id of each request that was sent to the status that came back; `lines` are the parsed lines of
    the access log; `before` and `after` are what `/metrics` said. Requests of `/metrics` itself are left out.
    """
    seen = [line for line in lines if line.get("route") != "/metrics"]
    wanted: Tally[tuple[Any, Any]] = Tally(sent.items())
    logged: Tally[tuple[Any, Any]] = Tally((line.get("request_id"), line.get("status")) for line in seen)
    assert logged == wanted, f"the log lacks {list(wanted - logged)}, and has too much {list(logged - wanted)}"
    told = Tally((line.get("method"), line.get("route"), str(line.get("status"))) for line in seen)
    risen = requests_counted(after)
    risen.subtract(requests_counted(before))
    assert risen == told, f"the counters rose by {dict(risen)}, the log has {dict(told)}"
