"""Chapter 5's reference under attack: clients that leave, runs that fail, cancellation at any moment, the end."""

import asyncio
import contextlib
import functools
import gc
import json
import os
import queue
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
import torch
from fastapi import FastAPI, Request
from PIL import Image
from starlette.types import Message, Receive, Scope, Send

from labserve.serving import Live, live
from solutions import concurrency, errors
from solutions.concurrency import Admission, Batcher, ClientLeft, Job, Overloaded, batched, run_batch, take, watch_lag
from solutions.errors import Classified, ModelNotLoaded
from solutions.settings import Settings

PATIENCE = 20.0  # seconds after which a test counts as hanging


@pytest.fixture(scope="module", autouse=True)
def _short_collections() -> Iterator[None]:
    """What was there before these tests need not be looked through by each of their garbage collections."""
    gc.freeze()
    yield
    gc.unfreeze()


def quiet(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a coroutine as a test: it must not hang, and asyncio must have nothing to complain of at its end."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        complaints: list[str] = []

        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told["message"]))
            async with asyncio.timeout(PATIENCE):
                await test(*args, **kwargs)
                await turns()
                gc.collect()
                await turns()

        asyncio.run(main())
        gc.collect()
        assert not complaints

    return run


async def turns(count: int = 20) -> None:
    """Let the loop turn: whatever can go on without waiting for anything has done so afterwards."""
    for _ in range(count):
        await asyncio.sleep(0)


def request_id() -> str:
    return CURRENT.get()


CURRENT: ContextVar[str] = ContextVar("current", default="nobody's")


class Work:
    """What answers a batch: for each upload the upload itself, or its ValueError; `fatal` fails the whole run.

    While `hold` is on a run does not end; `begun()` waits until one more has begun.
    """

    def __init__(self, *, hold: bool = False) -> None:
        self.batches: list[list[bytes]] = []
        self.threads: set[threading.Thread] = set()
        self.seen: list[object] = []
        self._begun: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._go = threading.Event()
        if not hold:
            self._go.set()

    def __call__(self, batch: list[bytes]) -> Sequence[Any]:
        self.batches.append(list(batch))
        self.threads.add(threading.current_thread())
        self.seen.append((torch.get_num_threads(), request_id()))
        self._begun.put(None)
        assert self._go.wait(PATIENCE)
        if b"fatal" in batch:
            raise RuntimeError("out of memory")
        if b"short" in batch:
            return []
        return [ValueError(data.decode()) if data.startswith(b"bad") else data for data in batch]

    async def begun(self, runs: int = 1) -> None:
        for _ in range(runs):
            await asyncio.to_thread(self._begun.get, timeout=PATIENCE)

    def release(self) -> None:
        self._go.set()


# 5.1


@quiet
async def test_the_watcher_sees_a_stall_and_ends_when_it_is_cancelled() -> None:
    lags: asyncio.Queue[float] = asyncio.Queue()
    watcher = asyncio.create_task(watch_lag(lags.put_nowait, tick=0.001))
    await lags.get()
    threading.Event().wait(0.1)  # on the loop
    assert max([await lags.get(), await lags.get()]) >= 0.09
    watcher.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watcher


# 5.2


def jobs(*data: bytes, left: Sequence[bytes] = ()) -> list[Job]:
    made = [Job(item, asyncio.get_running_loop().create_future()) for item in data]
    for job in made:
        if job.data in left:
            job.answer.cancel()
    return made


@pytest.mark.parametrize(
    ("waiting", "left", "most", "taken", "rest"),
    [
        ([b"a"], [], 4, [b"a"], 0),
        ([b"a", b"b", b"c"], [], 1, [b"a"], 2),
        ([b"a", b"b", b"c"], [], 2, [b"a", b"b"], 1),
        ([b"a", b"b", b"c", b"d"], [b"a", b"c"], 2, [b"b", b"d"], 0),
        ([b"a", b"b", b"c"], [b"b", b"c"], 4, [b"a"], 0),
    ],
)
@quiet
async def test_takes_what_waits(
    waiting: list[bytes], left: list[bytes], most: int, taken: list[bytes], rest: int
) -> None:
    line: asyncio.Queue[Job] = asyncio.Queue()
    for job in jobs(*waiting, left=left):
        line.put_nowait(job)
    task = asyncio.create_task(take(line, most))
    await turns()
    if taken == [b"a"] and left:  # what comes after it is dropped by the next that takes
        assert task.done() or line.empty()
    assert [job.data for job in await task] == taken
    assert line.qsize() == rest


@quiet
async def test_a_taker_that_is_cancelled_loses_no_job() -> None:
    line: asyncio.Queue[Job] = asyncio.Queue()
    task = asyncio.create_task(take(line, 4))
    await turns()
    (job,) = jobs(b"a")
    line.put_nowait(job)
    task.cancel()  # in the very turn in which the job came
    await asyncio.wait([task])
    assert task.cancelled()
    assert await take(line, 4) == [job]


# 5.3


def picture(colour: str) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
    return buffer.getvalue()


class Colours:
    """A stand-in for the model: the mean colour of a picture is what it says."""

    name, labels, device = "colours", ["red", "green", "blue"], torch.device("cpu")

    def __init__(self, before: Callable[[int], object] = lambda size: None) -> None:
        self._before = before

    def run(self, images: Sequence[Image.Image]) -> SimpleNamespace:
        self._before(len(images))
        probabilities = torch.tensor([image.resize((1, 1)).getpixel((0, 0)) for image in images]) / 255
        return SimpleNamespace(probabilities=probabilities, embeddings=probabilities * 2)


def told(results: Sequence[Classified | Exception]) -> list[str]:
    return [
        type(result).__name__ if isinstance(result, Exception) else Colours.labels[int(result.probabilities.argmax())]
        for result in results
    ]


def test_a_bad_picture_never_fails_its_neighbours() -> None:
    runs: list[int] = []
    batch = [picture("red"), b"a plain text", picture("blue")[:50], picture("lime"), b"%PDF-1.7", picture("blue")]
    results = run_batch(Colours(runs.append), Settings(), batch)  # type: ignore[arg-type]
    assert told(results) == ["red", "NotAPicture", "BadPicture", "green", "NotAPicture", "blue"]
    assert runs == [3]
    assert run_batch(Colours(runs.append), Settings(), [b"text", b"bad"])  # type: ignore[arg-type]
    assert run_batch(Colours(runs.append), Settings(), []) == []  # type: ignore[arg-type]
    assert runs == [3]


# 5.4


@quiet
async def test_everybody_gets_their_own_answer_in_batches() -> None:
    work = Work(hold=True)
    async with Batcher(work, max_batch=4) as batcher:
        answers = [asyncio.create_task(batcher.submit(b"0"))]
        await work.begun()
        answers += [asyncio.create_task(batcher.submit(b"%d" % number)) for number in range(1, 10)]
        await turns()
        assert batcher.waiting == 9
        work.release()
        assert await asyncio.gather(*answers) == [b"%d" % number for number in range(10)]
    assert [len(batch) for batch in work.batches] == [1, 4, 4, 1]


@quiet
async def test_a_batch_of_one_at_most() -> None:
    work = Work()
    async with Batcher(work, max_batch=1) as batcher:
        assert await asyncio.gather(*(batcher.submit(data) for data in (b"a", b"b"))) == [b"a", b"b"]
    assert work.batches == [[b"a"], [b"b"]]


@pytest.mark.parametrize("data", [b"fatal", b"short"])
@quiet
async def test_a_run_that_fails_costs_its_own_batch_and_no_worker(data: bytes) -> None:
    async with Batcher(Work()) as batcher:
        for _ in range(2):
            together = await asyncio.gather(batcher.submit(data), batcher.submit(b"a"), return_exceptions=True)
            assert all(isinstance(answer, Exception) for answer in together)
            assert await batcher.submit(b"b") == b"b"


@quiet
async def test_an_observer_that_fails_costs_no_worker() -> None:
    async with Batcher(Work()) as batcher:
        batcher.on_batch = lambda size: size / 0
        with pytest.raises(ZeroDivisionError):
            await batcher.submit(b"a")
        batcher.on_batch = lambda size: None
        assert await batcher.submit(b"a") == b"a"


@quiet
async def test_a_bad_upload_fails_alone() -> None:
    async with Batcher(Work()) as batcher:
        answers = await asyncio.gather(*(batcher.submit(data) for data in (b"a", b"bad", b"b")), return_exceptions=True)
    assert [str(answer) for answer in answers] == ["b'a'", "bad", "b'b'"]


@quiet
async def test_one_more_than_may_wait_is_refused_at_once() -> None:
    work = Work(hold=True)
    async with Batcher(work, max_batch=2, max_waiting=3) as batcher:
        inside = [asyncio.create_task(batcher.submit(b"a"))]
        await work.begun()
        inside += [asyncio.create_task(batcher.submit(b"b")) for _ in range(3)]
        await turns()
        with pytest.raises(Overloaded, match="3 pictures are waiting"):
            await batcher.submit(b"c")
        work.release()
        assert await asyncio.gather(*inside) == [b"a", b"b", b"b", b"b"]
    assert (Overloaded.status, Overloaded.retry_after) == (503, 1)


@quiet
async def test_who_leaves_the_queue_costs_no_run() -> None:
    work = Work(hold=True)
    async with Batcher(work, max_batch=4) as batcher:
        first = asyncio.create_task(batcher.submit(b"first"))
        await work.begun()
        leaving, staying = (asyncio.create_task(batcher.submit(data)) for data in (b"leaving", b"staying"))
        await turns()
        leaving.cancel()
        await turns()
        work.release()
        assert await staying == b"staying"
        assert await first == b"first"
    assert leaving.cancelled()
    assert work.batches == [[b"first"], [b"staying"]]


@quiet
async def test_who_leaves_during_the_run_leaves_the_others_their_answers() -> None:
    work = Work(hold=True)
    async with Batcher(work, max_batch=4) as batcher:
        first, second = (asyncio.create_task(batcher.submit(data)) for data in (b"bad", b"second"))
        await work.begun()
        first.cancel()
        await turns()
        work.release()
        assert await second == b"second"
    assert work.batches == [[b"bad", b"second"]]


@quiet
async def test_leaving_answers_who_waits_and_refuses_who_comes() -> None:
    work = Work(hold=True)
    batcher = Batcher(work, max_batch=2)
    await batcher.__aenter__()
    inside = [asyncio.create_task(batcher.submit(b"%d" % number)) for number in range(5)]
    await work.begun()
    leaving = asyncio.create_task(batcher.__aexit__(None, None, None))
    await turns()
    assert not leaving.done()
    with pytest.raises(Overloaded, match="about to stop"):
        await batcher.submit(b"late")
    work.release()
    assert await asyncio.gather(*inside) == [b"0", b"1", b"2", b"3", b"4"]
    await leaving
    assert not any(thread.is_alive() for thread in work.threads)


@quiet
async def test_leaving_waits_for_a_run_without_clients_and_keeps_the_loop_free() -> None:
    work = Work(hold=True)
    batcher = await Batcher(work).__aenter__()
    alone = asyncio.create_task(batcher.submit(b"a"))
    await work.begun()
    alone.cancel()
    leaving = asyncio.create_task(batcher.__aexit__(None, None, None))
    await turns()
    work.release()
    await leaving
    assert not any(thread.is_alive() for thread in work.threads)


@quiet
async def test_leaving_that_is_cut_short_leaves_nobody_waiting() -> None:
    work = Work(hold=True)
    batcher = await Batcher(work, max_batch=1).__aenter__()
    inside = [asyncio.create_task(batcher.submit(data)) for data in (b"a", b"b")]
    await work.begun()
    leaving = asyncio.create_task(batcher.__aexit__(None, None, None))
    await turns()
    leaving.cancel()
    await asyncio.wait(inside)
    work.release()
    await asyncio.wait([leaving])
    assert all(answer.cancelled() for answer in inside)
    assert work.batches == [[b"a"]]


@pytest.mark.parametrize("data", [b"a", b"bad", b"fatal"])
@quiet
async def test_a_submit_may_be_cancelled_in_any_turn(data: bytes) -> None:
    for turn in range(12):
        await cancel_a_submit(data, turn)


async def cancel_a_submit(data: bytes, turn: int) -> None:
    work = Work(hold=True)
    async with Batcher(work, max_batch=2) as batcher:
        leaving, neighbour = asyncio.create_task(batcher.submit(data)), asyncio.create_task(batcher.submit(b"b"))
        await turns(min(turn, 6))
        if turn > 6:
            await work.begun()
            work.release()
            await turns(turn - 6)
        leaving.cancel()
        work.release()
        await asyncio.gather(leaving, neighbour, return_exceptions=True)
        assert await batcher.submit(b"c") == b"c"
        assert batcher.waiting == 0


@quiet
async def test_two_workers_run_at_the_same_time_in_threads_of_one_torch_thread() -> None:
    meeting = threading.Barrier(2)

    def run(batch: list[bytes]) -> list[Any]:
        meeting.wait(PATIENCE)  # passes when both are here
        return [(threading.current_thread().name, torch.get_num_threads()) for _ in batch]

    async with Batcher(run, workers=2, max_batch=1, initializer=functools.partial(torch.set_num_threads, 1)) as batcher:
        answers: list[Any] = await asyncio.gather(batcher.submit(b"a"), batcher.submit(b"b"))
    assert {name.rpartition("_")[0] for name, _ in answers} == {"inference"}
    assert len({name for name, _ in answers}) == 2
    assert [count for _, count in answers] == [1, 1]


@quiet
async def test_a_worker_thread_knows_no_request_not_even_a_wrong_one() -> None:
    work = Work()
    async with Batcher(work) as batcher:
        CURRENT.set("this one")
        assert await batcher.submit(b"a") == b"a"
    assert [seen[1] for seen in work.seen] == ["nobody's"]  # type: ignore[index]


# The engine, and the app around it.


class Client:
    """The other end of a request: what it sends, and whether it is still there."""

    def __init__(self, app: Any, method: str = "POST") -> None:
        self.scope: Scope = {"type": "http", "method": method, "path": "/predict", "headers": [], "query_string": b""}
        self.scope |= {"app": app, "state": {}, "server": ("testserver", 80), "scheme": "http"}
        self.sent: list[Message] = []
        self.reads = 0
        self.gone = asyncio.Event()

    async def receive(self) -> Message:
        self.reads += 1
        if self.reads == 1:
            return {"type": "http.request", "body": b"data", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    def ask(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> "asyncio.Task[None]":
        return asyncio.create_task(self._call(app))

    async def _call(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        await app(self.scope, self.receive, self.send)

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])


def request_to(batcher: Batcher | None) -> tuple[Client, Request]:
    client = Client(SimpleNamespace(state=SimpleNamespace(batcher=batcher)))
    return client, Request(client.scope, client.receive)


@quiet
async def test_without_a_batcher_there_is_no_model_yet() -> None:
    with pytest.raises(ModelNotLoaded):
        await batched(request_to(None)[1], b"a")


@quiet
async def test_a_client_that_leaves_while_it_waits_costs_no_run() -> None:
    work = Work(hold=True)
    async with Batcher(work) as batcher:
        first = asyncio.create_task(batched(request_to(batcher)[1], b"first"))
        await work.begun()
        client, request = request_to(batcher)
        second = asyncio.create_task(batched(request, b"second"))
        await turns()
        client.gone.set()
        with pytest.raises(ClientLeft):
            await second
        work.release()
        assert await first == b"first"
    assert work.batches == [[b"first"]]
    assert ClientLeft.status == 499


@pytest.mark.parametrize("data", [b"a", b"bad", b"fatal"])
@pytest.mark.parametrize("how", ["cancel", "leave", "both"])
@quiet
async def test_the_engine_may_be_cancelled_in_any_turn(how: str, data: bytes) -> None:
    for turn in range(14):
        await cancel_the_engine(how, data, turn)


async def cancel_the_engine(how: str, data: bytes, turn: int) -> None:
    work = Work()
    async with Batcher(work) as batcher:
        client, request = request_to(batcher)
        task = asyncio.create_task(batched(request, data))
        await turns(min(turn, 6))
        if turn > 6:
            await work.begun()
            await turns(turn - 6)
        if how != "cancel":
            client.gone.set()
        if how != "leave":
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await batcher.submit(b"next") == b"next"
        assert batcher.waiting == 0
        await turns()
        assert len(asyncio.all_tasks()) == 2, "a watcher was left behind"  # this test's and the worker's


# 5.5


class Inside:
    """The app behind an Admission: counts who is in, holds them until released, raises for the path /raise."""

    def __init__(self) -> None:
        self.entered, self.inside, self.most = 0, 0, 0
        self.go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self.entered += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await receive()
            if scope["method"] == "POST":
                await self.go.wait()
            if scope["path"] == "/raise":
                raise RuntimeError("the app raises")
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        finally:
            self.inside -= 1


def crowd(size: int, path: str = "/predict") -> list[Client]:
    clients = [Client(None) for _ in range(size)]
    for client in clients:
        client.scope["path"] = path
    return clients


@quiet
async def test_who_is_too_many_is_refused_with_the_body_unread() -> None:
    inside = Inside()
    app = Admission(inside, limit=2, patience=0.001)
    clients = crowd(5)
    tasks = [client.ask(app) for client in clients]
    await asyncio.wait(tasks[2:])
    assert [client.status for client in clients] == [None, None, 503, 503, 503]
    assert [client.reads for client in clients] == [1, 1, 0, 0, 0]
    assert clients[2].headers[b"retry-after"] == b"1"
    assert clients[2].headers[b"content-type"] == b"application/problem+json"
    assert json.loads(clients[2].sent[1]["body"])["status"] == 503
    inside.go.set()
    await asyncio.wait(tasks[:2])
    assert [client.status for client in clients[:2]] == [200, 200]
    assert inside.entered == 2


@quiet
async def test_who_waits_gets_the_place_that_becomes_free() -> None:
    inside = Inside()
    app = Admission(inside, limit=2, patience=PATIENCE)
    clients = crowd(7)
    tasks = [client.ask(app) for client in clients]
    await turns()
    assert (inside.entered, sum(client.reads for client in clients)) == (2, 2)
    inside.go.set()
    await asyncio.wait(tasks)
    assert [client.status for client in clients] == [200] * 7
    assert inside.most == 2


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@quiet
async def test_other_requests_and_scopes_pass_while_it_is_full(method: str) -> None:
    inside = Inside()
    app = Admission(inside, limit=1, patience=PATIENCE)
    (first,) = crowd(1)
    held = first.ask(app)
    await turns()
    other = Client(None, method)
    await other.ask(app)
    assert other.status == 200
    client = Client(None)
    for kind in ("lifespan", "websocket"):
        await app({"type": kind}, client.receive, client.send)
    inside.go.set()
    await held


@quiet
async def test_patience_of_zero_refuses_only_who_finds_no_place() -> None:
    inside = Inside()
    app = Admission(inside, limit=1, patience=0)
    first, second = crowd(2)
    held = first.ask(app)
    await turns()
    await second.ask(app)
    inside.go.set()
    await held
    assert (first.status, second.status) == (200, 503)


async def places(app: Admission, inside: Inside, limit: int) -> int:
    """How many POST requests are let in at once, when nobody else is there."""
    inside.go.clear()
    clients = crowd(limit + 2)
    tasks = [client.ask(app) for client in clients]
    await turns()
    entered = inside.inside
    inside.go.set()
    await asyncio.wait(tasks)
    return entered


@pytest.mark.parametrize("end", ["answered", "raised", "refused", "cancelled", "cancelled and released"])
@quiet
async def test_no_place_is_ever_lost(end: str) -> None:
    for turn in range(8):
        await end_in(end, turn)


async def end_in(end: str, turn: int) -> None:
    inside = Inside()
    patience = 0.0 if end == "refused" else PATIENCE
    app = Admission(inside, limit=2, patience=patience)
    clients = crowd(5, "/raise" if end == "raised" else "/predict")
    tasks = [client.ask(app) for client in clients]
    await turns(turn)
    if end == "cancelled and released":  # a place becomes free in the turn in which the one who waits for it goes
        inside.go.set()
        await turns(2)
    if end.startswith("cancelled"):
        for task in tasks:
            task.cancel()
    inside.go.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    app._patience = PATIENCE
    assert await places(app, inside, 2) == 2
    assert inside.inside == 0


# The whole: two apps in a process, and real clients of a real server.


def make_app(settings: Settings, classifier: Any) -> FastAPI:
    """Chapters 4 and 5 in front of a stand-in for the model."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.classifier = classifier
        yield

    app = FastAPI(lifespan=lifespan)
    app.state.settings = settings
    app.include_router(errors.router)
    app.include_router(concurrency.router)
    errors.install(app)
    concurrency.install(app)
    return app


def connected(app: FastAPI) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://testserver")


def upload(colour: str) -> dict[str, tuple[str, bytes, str]]:
    return {"file": (f"{colour}.png", picture(colour), "image/png")}


@quiet
async def test_two_apps_share_nothing() -> None:
    names: list[set[threading.Thread]] = [set(), set()]
    watch = [lambda _, seen=seen: seen.add(threading.current_thread()) for seen in names]
    apps = [make_app(Settings(workers=1), Colours(notice)) for notice in watch]
    async with apps[0].router.lifespan_context(apps[0]):
        async with apps[1].router.lifespan_context(apps[1]), connected(apps[1]) as client:
            assert (await client.post("/predict", files=upload("blue"))).status_code == 200
            assert apps[0].state.batcher is not apps[1].state.batcher
        async with connected(apps[1]) as client:
            assert (await client.post("/predict", files=upload("blue"))).status_code == 503  # it has been left
        async with connected(apps[0]) as client:
            answer = (await client.post("/predict", files=upload("red"))).json()
    assert answer["predictions"][0]["class_name"] == "red"
    assert not names[0] & names[1]
    assert not any(thread.is_alive() for seen in names for thread in seen)


@quiet
async def test_a_full_queue_answers_503_with_retry_after() -> None:
    go, begun = threading.Event(), threading.Semaphore(0)
    app = make_app(
        Settings(workers=1, max_batch=1, max_waiting=1),
        Colours(lambda _: (begun.release(), go.wait(PATIENCE))),
    )
    async with app.router.lifespan_context(app), connected(app) as client:
        first = asyncio.create_task(client.post("/predict", files=upload("red")))
        await asyncio.to_thread(begun.acquire, timeout=PATIENCE)
        others = [asyncio.create_task(client.post("/predict", files=upload("red"))) for _ in range(3)]
        refused, _ = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        while len(refused) < 2:
            more, _ = await asyncio.wait(set(others) - refused, return_when=asyncio.FIRST_COMPLETED)
            refused |= more
        for task in refused:
            reply = task.result()
            assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
            assert reply.json()["detail"] == "1 pictures are waiting already."
        go.set()
        assert [(await task).status_code for task in {first, *others} - refused] == [200, 200]


def serving_app() -> FastAPI:
    """For a server of its own: the model is held until GET /go, or until there is a file GO; GET /state tells what it
    saw."""
    go = threading.Event()
    runs: list[int] = []

    def hold() -> None:
        while not go.wait(0.01) and not Path(os.environ["GO"]).exists():
            pass

    app = make_app(
        Settings(workers=1, max_batch=4, max_in_flight=3, patience=0.01),
        Colours(lambda size: (runs.append(size), hold())),
    )

    @app.get("/state")
    async def state(waiting: int, running: int) -> list[int]:
        """The sizes of all runs so far, as soon as so many jobs wait, alive, and so many runs have begun."""
        batcher = app.state.batcher
        while (len(batcher._unanswered), len(runs)) != (waiting + running, running):
            await asyncio.sleep(0.001)
        return runs

    @app.get("/go")
    async def release() -> None:
        go.set()

    return app


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Live]:
    running = live("tests.test_concurrency:serving_app", factory=True, env={"GO": str(tmp_path / "go")}).start()
    yield running
    running.stop()


def raw_upload(client: httpx2.Client, data: bytes) -> bytes:
    request = client.build_request("POST", "/predict", files={"file": ("a.png", data, "image/png")})
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return f"POST /predict HTTP/1.1\r\n{head}\r\n".encode() + request.read()


def connect(client: httpx2.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port), PATIENCE)


def test_over_sockets_who_leaves_costs_no_run_and_who_is_too_many_is_told_before_the_body(server: Live) -> None:
    client = server.client
    upload = raw_upload(client, picture("red"))
    with connect(client) as first, connect(client) as third:
        first.sendall(upload)
        assert client.get("/state", params={"waiting": 0, "running": 1}).json() == [1]
        second = connect(client)
        second.sendall(upload)
        third.sendall(upload)
        client.get("/state", params={"waiting": 2, "running": 1})

        with connect(client) as fourth:  # no place is left, and not a byte of the body is sent
            fourth.sendall(b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n")
            answer = fourth.recv(65536)
            assert answer.startswith(b"HTTP/1.1 503")
            assert b"retry-after: 1" in answer.lower()

        second.close()
        client.get("/state", params={"waiting": 1, "running": 1})
        client.get("/go")
        for patient in (first, third):
            assert patient.recv(65536).startswith(b"HTTP/1.1 200")
        assert client.get("/state", params={"waiting": -2, "running": 2}).json() == [1, 1]


def test_over_sockets_who_is_in_is_answered_though_the_server_is_told_to_stop(server: Live, tmp_path: Path) -> None:
    client = server.client
    with connect(client) as running, connect(client) as waiting:
        running.sendall(raw_upload(client, picture("red")))
        client.get("/state", params={"waiting": 0, "running": 1})
        waiting.sendall(raw_upload(client, picture("blue")))
        client.get("/state", params={"waiting": 1, "running": 1})
        stopping = threading.Thread(target=server.stop)
        address = (client.base_url.host, client.base_url.port)
        stopping.start()
        with contextlib.suppress(ConnectionError):
            while True:  # until nobody new is let in
                socket.create_connection(address, PATIENCE).close()
        (tmp_path / "go").touch()
        for patient in (running, waiting):
            assert patient.recv(65536).startswith(b"HTTP/1.1 200")
        stopping.join()


@quiet
async def test_jobs_whose_clients_left_make_room_for_the_living() -> None:
    started, release = threading.Event(), threading.Event()

    def run(batch: list[bytes]) -> list[bytes]:
        started.set()
        release.wait(10)
        return batch

    async with Batcher(run, workers=1, max_batch=1, max_waiting=2) as batcher:
        first = asyncio.create_task(batcher.submit(b"first"))
        await asyncio.to_thread(started.wait, 10)
        gone = [asyncio.create_task(batcher.submit(b"gone")) for _ in range(2)]
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        await asyncio.wait(gone)
        living = [asyncio.create_task(batcher.submit(b"living")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await batcher.submit(b"one too many")
        release.set()
        assert await asyncio.gather(first, *living) == [b"first", b"living", b"living"]
