"""Chapter 5: the event loop stays free, the model works in batches, and no more is let in than can be done."""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch
from fastapi import APIRouter, FastAPI, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import Classified, ModelNotLoaded, ServiceError, decode, problem
from .inference import Classifier
from .settings import Settings


# exercise 5.1
async def watch_lag(report: Callable[[float], object], tick: float = 0.05) -> None:
    """Report, every `tick` seconds and for ever, for how many seconds the event loop came back too late."""
    while True:
        due = time.perf_counter() + tick
        await asyncio.sleep(tick)
        report(max(0.0, time.perf_counter() - due))


# exercise 5.2
@dataclass(frozen=True)
class Job:
    """An upload that waits for the model, and where its answer goes. Cancelled: nobody waits for it any more."""

    data: bytes
    answer: asyncio.Future[Classified]


async def take(queue: asyncio.Queue[Job], most: int) -> list[Job]:
    """Wait for a job, then take what else is there, `most` at the most; those nobody waits for are dropped."""
    jobs: list[Job] = []
    while not jobs or (len(jobs) < most and not queue.empty()):
        job = await queue.get()
        if not job.answer.cancelled():
            jobs.append(job)
    return jobs


# exercise 5.3
def run_batch(classifier: Classifier, limits: Settings, batch: Sequence[bytes]) -> list[Classified | Exception]:
    """Decode the uploads and classify those that are pictures in one run; for each its result, or its error."""
    results: list[Any] = []
    for data in batch:
        try:
            results.append(decode(data, limits))
        except Exception as error:
            results.append(error)
    good = [index for index, result in enumerate(results) if not isinstance(result, Exception)]
    if good:
        started = time.perf_counter()
        output = classifier.run([results[index] for index in good])
        seconds = time.perf_counter() - started
        for row, index in enumerate(good):
            results[index] = Classified(output.probabilities[row], output.embeddings[row], seconds)
    return results


# exercise 5.4
class Overloaded(ServiceError):
    """More is asked than can be done now."""

    status = 503
    retry_after = 1


class ClientLeft(ServiceError):
    """Nobody reads the answer any more. The status is for our own log and counters: no fault of the service."""

    status = 499


class Batcher:
    """Answers jobs in batches: each of `workers` threads takes what waits, `max_batch` at most, as soon as it is free.

    `run` gets the uploads of a batch, in a thread, and gives a result or an error for each. At most `max_waiting` wait.
    `on_batch` is told the size of every batch. Use as an async context manager; leaving it answers what still waits.
    """

    def __init__(
        self,
        run: Callable[[list[bytes]], Sequence[Classified | Exception]],
        *,
        workers: int = 1,
        max_batch: int = 4,
        max_waiting: int = 64,
        initializer: Callable[[], object] | None = None,
    ) -> None:
        self._run, self._workers, self._max_batch = run, workers, max_batch
        self._queue: asyncio.Queue[Job] = asyncio.Queue(max_waiting)
        self._unanswered: set[asyncio.Future[Classified]] = set()
        self._threads = ThreadPoolExecutor(workers, "inference", initializer)
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        self.on_batch: Callable[[int], object] = lambda size: None

    @property
    def waiting(self) -> int:
        """How many jobs no worker has taken yet."""
        return self._queue.qsize()

    async def submit(self, data: bytes) -> Classified:
        """The result for one upload. Overloaded if too many wait already; cancelled, it costs no run of the model."""
        if self._closed:
            raise Overloaded("The service is about to stop.")
        if self._queue.full():
            self._drop_the_gone()
        job = Job(data, asyncio.get_running_loop().create_future())
        try:
            self._queue.put_nowait(job)
        except asyncio.QueueFull:
            raise Overloaded(f"{self.waiting} pictures are waiting already.") from None
        self._unanswered.add(job.answer)
        job.answer.add_done_callback(self._unanswered.discard)
        return await job.answer

    def _drop_the_gone(self) -> None:
        """Make room where clients have left: their jobs would keep the living out until a worker is free."""
        for _ in range(self._queue.qsize()):
            job = self._queue.get_nowait()
            if not job.answer.cancelled():
                self._queue.put_nowait(job)

    async def _work(self) -> None:
        while True:
            await self._answer(await take(self._queue, self._max_batch))

    async def _answer(self, jobs: list[Job]) -> None:
        try:
            self.on_batch(len(jobs))
            batch = [job.data for job in jobs]
            results = await asyncio.get_running_loop().run_in_executor(self._threads, self._run, batch)
            answered = list(zip(jobs, results, strict=True))
        except Exception as error:  # such as a GPU without memory: these fail, the worker lives on
            answered = [(job, error) for job in jobs]
        for job, result in answered:
            if job.answer.cancelled():
                continue
            if isinstance(result, Exception):
                job.answer.set_exception(result)
            else:
                job.answer.set_result(result)

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self._workers)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        try:
            if self._unanswered:
                await asyncio.wait(self._unanswered)
        finally:  # also when that wait is cut short: then nobody may be left waiting
            for task in self._tasks:
                task.cancel()
            for answer in self._unanswered:
                answer.cancel()
            await asyncio.to_thread(self._threads.shutdown)  # a run that nobody waits for may still be at work


async def batched(request: Request, data: bytes) -> Classified:
    """The engine of this chapter: classify by the app's batcher, unless the client leaves before its turn."""
    batcher: Batcher | None = getattr(request.app.state, "batcher", None)
    if batcher is None:
        raise ModelNotLoaded("The model is being loaded; try again.")
    work = asyncio.ensure_future(batcher.submit(data))
    gone = asyncio.ensure_future(_disconnected(request))
    gone.add_done_callback(lambda _: work.cancel())
    try:
        return await work
    except asyncio.CancelledError:
        if gone.done():
            raise ClientLeft("The client has gone.") from None
        raise
    finally:
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Put a batcher in front of the app's classifier. On a CPU a worker is one core, and torch's own threads rest."""
    classifier, settings = app.state.classifier, app.state.settings
    on_cpu = classifier.device.type == "cpu"
    async with Batcher(
        partial(run_batch, classifier, settings),
        workers=settings.workers or (os.cpu_count() or 1 if on_cpu else 1),
        max_batch=settings.max_batch,
        max_waiting=settings.max_waiting,
        initializer=partial(torch.set_num_threads, 1) if on_cpu else None,
    ) as batcher:
        app.state.batcher = batcher
        yield


router = APIRouter(lifespan=lifespan)


# exercise 5.5
class Admission:
    """At most `limit` POST requests at a time: one more waits up to `patience` seconds, its body unread, then gets 503.

    An ASGI layer: what it refuses costs no parsing, and other methods (`/health`, `/metrics`) pass it by.
    """

    def __init__(self, app: ASGIApp, limit: int, patience: float) -> None:
        self._app, self._patience = app, patience
        self._places = asyncio.Semaphore(limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return await self._app(scope, receive, send)
        wait = self._patience * random.uniform(0.5, 1.0)  # who came together shall not come back together
        try:
            async with asyncio.timeout(wait):
                await self._places.acquire()
        except TimeoutError:
            refusal = problem(Request(scope), 503, "The service is full; try again.", headers={"Retry-After": "1"})
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
