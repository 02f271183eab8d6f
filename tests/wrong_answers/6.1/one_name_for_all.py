# earns: model is the name of app.state.classifier
import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from .concurrency import watch_lag
from .errors import Classified

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
                if not psutil.pid_exists(int(file.stem.rpartition("_")[2])):
                    file.unlink(missing_ok=True)
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


Engine = Callable[[Request, bytes], Awaitable[Classified]]


def measured(engine: Engine, metrics: Metrics) -> Engine:
    async def measuring(request: Request, data: bytes) -> Classified:
        start_time = time.time()
        model_name = "resnet18"
        try:
            result = await engine(request, data)
            metrics.predictions.labels(model=model_name, status="success").inc()
            metrics.confidence.labels(model=model_name).observe(float(result.probabilities.max()))
            return result
        except Exception:
            metrics.predictions.labels(model=model_name, status="error").inc()
            raise
        finally:
            metrics.latency.labels(model=model_name).observe(time.time() - start_time)

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
