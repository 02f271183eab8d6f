"""The stand-ins of checks: seen at work, held without sleeping, and gone when the host ends."""

import gc
import itertools
import logging
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from labserve.probe import CannotCall, Probe, Request
from labserve.wire import Ref
from labserve.workspace import Workspace

from . import tiny as workbook
from .test_probe import APP, Asking


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asking]:
    space: Workspace = workbook.make(tmp_path, monkeypatch)
    before = set(threading.enumerate())
    asking = Asking(space)
    yield asking
    asking.close()
    gc.collect()  # a pool of threads ends when nothing holds it
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive(), f"{thread} runs on"


def value(probe: Probe, on: Ref, name: str, *args: object) -> object:
    outcome = probe.method(on, name, *args)
    assert outcome.error is None, outcome
    return outcome.value


# What runs, and what holds it

BATCHER = """
import asyncio
from concurrent.futures import ThreadPoolExecutor

class Batcher:
    def __init__(self, run):
        self.run, self.jobs, self.threads = run, [], ThreadPoolExecutor(1, "mine")
    async def submit(self, data):
        return (await asyncio.get_running_loop().run_in_executor(self.threads, self.run, [data]))[0]
    async def at_once(self, data):
        return self.run([data])[0]
    async def __aenter__(self):
        self.task = asyncio.current_task()
        return self
    async def __aexit__(self, *_):
        assert asyncio.current_task() is self.task
        await asyncio.to_thread(self.threads.shutdown)
"""


def test_work_is_held_and_seen_without_time(ask: Asking) -> None:
    probe = ask(BATCHER)
    work = probe.make("work")
    batcher = probe.keep("first.Batcher", work)
    value(probe, work, "hold")
    tasks = [probe.spawn((batcher, "submit"), data) for data in (b"a", b"bad", b"c")]
    value(probe, work, "wait", 1)
    assert value(probe, work, "seen") == [[b"a"]]
    assert [value(probe, task, "done") for task in tasks] == [False] * 3
    value(probe, tasks[2], "cancel")
    cancelled = probe.result(tasks[2]).error
    assert cancelled is not None
    assert cancelled.type == "CancelledError"
    value(probe, work, "release")
    assert probe.result(tasks[0]).value == b"seen a"
    assert probe.result(tasks[1]).value.type == "ValueError"
    assert value(probe, work, "batches") == [1, 1]
    assert value(probe, work, "threads") == ["mine_0"] * 2


def test_what_is_held_on_the_loop_itself_fails(ask: Asking) -> None:
    probe = ask(BATCHER)
    work = probe.make("work")
    batcher = probe.keep("first.Batcher", work)
    assert probe.call((batcher, "at_once"), b"a").value == b"seen a"
    value(probe, work, "hold")
    error = probe.call((batcher, "at_once"), b"a").error
    assert error is not None
    assert "event loop's own thread" in error.message
    value(probe, work, "release")
    value(probe, work, "fail_on", 3)
    assert str(probe.call((batcher, "submit"), b"a").error).startswith("RuntimeError: out of memory")
    assert probe.call((batcher, "submit"), b"a").value == b"seen a"


def test_what_is_still_held_is_let_go_at_the_end(ask: Asking) -> None:
    probe = ask(BATCHER)
    work = probe.make("work")
    entered = probe.enter(probe.keep("first.Batcher", work))
    value(probe, work, "hold")
    probe.spawn((probe.keep((entered, "value")), "submit"), b"a")
    value(probe, work, "wait", 1)
    leaving = probe.spawn((entered, "leave"))
    assert value(probe, leaving, "done") is False
    ask.close()


def test_a_context_manager_is_left_in_the_task_that_entered_it(ask: Asking) -> None:
    probe = ask(
        BATCHER
        + """
from contextlib import contextmanager

@contextmanager
def plain(log):
    log("in")
    yield
    log("out")

@contextmanager
def broken():
    raise NotImplementedError("exercise 1.1")
    yield
"""
    )
    entered = probe.enter(probe.keep("first.Batcher", probe.make("work")))
    assert probe.call((entered, "leave")).error is None
    recorder = probe.make("recorder")
    entered = probe.enter(probe.keep("first.plain", recorder))
    assert value(probe, recorder, "calls") == [["in"]]
    value(probe, entered, "leave")
    assert value(probe, recorder, "calls") == [["in"], ["out"]]
    with pytest.raises(CannotCall, match=r"exercise 1\.1"):
        probe.enter(probe.keep("first.broken"))


def test_a_classifier_tells_pictures_apart_by_colour(ask: Asking) -> None:
    from PIL import Image

    text = "def run(classifier, images):\n    return vars(classifier.run(images))\n"
    probe = ask(text, limit=60)  # which imports torch
    classifier = probe.make("classifier", labels=["cherry", "lime", "sky", "rest"])
    pictures = [Image.new("RGB", (8, 6), colour) for colour in [(200, 10, 30), (0, 255, 0), (10, 20, 220)]]
    seen = probe.call("first.run", classifier, pictures).value
    assert seen["probabilities"].values.argmax(axis=1).tolist() == [0, 1, 2]
    assert seen["probabilities"].shape == (3, 4)
    assert seen["probabilities"].values.sum(axis=1).tolist() == pytest.approx([1, 1, 1])
    assert seen["embeddings"].values[1].tolist() == [0, 1, 0, 1]
    assert value(probe, classifier, "batches") == [3]
    assert value(probe, classifier, "labels") == ["cherry", "lime", "sky", "rest"]
    assert probe.keep((classifier, "device")).repr == "device(type='cpu')"
    assert probe.call("first.run", classifier, []).error is not None


def test_small_things(ask: Asking) -> None:
    probe = ask(
        """
import asyncio

class Job:
    def __init__(self, data, answer): self.data, self.answer = data, answer

async def take(queue):
    while queue.empty():
        await asyncio.sleep(0)
    job = await queue.get()
    return job.data, job.answer.cancelled()

async def watch(report):
    while True:
        report(asyncio.get_running_loop().time())
        await asyncio.sleep(0)

def show(thing): return thing.a.b
"""
    )
    future, queue = probe.make("future"), probe.make("queue")
    value(probe, future, "cancel")
    task = probe.spawn("first.take", queue)
    assert value(probe, task, "done") is False
    assert value(probe, queue, "asked") > 2
    value(probe, queue, "put_nowait", probe.keep("first.Job", b"x", future))
    assert probe.result(task).value == [b"x", True]
    assert probe.call("first.show", probe.make("object", a=probe.make("object", b=3))).value == 3
    stream = probe.make("stream")
    value(probe, stream, "write", "text")
    assert value(probe, stream, "getvalue") == "text"
    recorder = probe.make("recorder")
    probe.spawn("first.watch", recorder)
    value(probe, recorder, "wait", 50)
    probe.stall(0.05)
    value(probe, recorder, "wait", len(value(probe, recorder, "calls")) + 1)
    times = [time for (time,) in value(probe, recorder, "calls")]
    assert max(later - before for before, later in itertools.pairwise(times)) >= 0.05


def test_what_cannot_be_kept_is_told(ask: Asking) -> None:
    probe = ask("def greet(name): raise NotImplementedError('exercise 1.1')\nclass Bad:\n    __repr__ = None")
    with pytest.raises(CannotCall, match=r"exercise 1\.1"):
        probe.keep("first.greet", "x")
    with pytest.raises(CannotCall):
        probe.make("nothing of this name")
    assert "no repr" in probe.keep("first.Bad").repr
    task = probe.spawn("first.greet", "x")
    assert probe.result(task).error.type == "NotImplementedError"


def test_errors_that_nobody_awaits_are_noise(ask: Asking) -> None:
    probe = ask("import asyncio\nasync def fail(): 1 / 0\nasync def forget(): asyncio.create_task(fail())")
    assert probe.noise() == []
    probe.call("first.forget")
    assert probe.noise() == ["Task exception was never retrieved"]
    assert probe.noise() == []


# Layers

LAYERS = """
class Passing:
    def __init__(self, app, limit=0, label=None):
        self.app, self.limit = app, limit
    async def __call__(self, scope, receive, send):
        if self.limit == 13:
            raise ValueError("thirteen")
        if self.limit == 14:
            return
        await self.app(scope, receive, send)

class Listening:
    def __init__(self, app, log):
        self.app, self.log = app, log
    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)
        self.log((await receive())["type"])
"""


def test_a_layer_alone(ask: Asking) -> None:
    probe = ask(LAYERS)
    app = probe.make("app", status=201)
    assert probe.layer("first.Passing", app, limit=3).error is None
    whole = probe.http("POST", "/", content=b"x" * 10)
    assert (whole.status, whole.json, whole.sent_bytes) == (201, 10, 10)
    parts = probe.send(Request("POST", "/", chunks=[b"abc"] * 4))
    assert (parts.json, parts.sent_bytes) == (12, 12)
    assert (value(probe, app, "entered"), value(probe, app, "bytes_read")) == (2, 22)
    value(probe, app, "fail_on", 3)
    assert str(probe.http("GET", "/")).startswith("500, because the app raised RuntimeError")
    unread = probe.make("app", read=False)
    probe.layer("first.Passing", unread)
    assert probe.send(Request("POST", "/", chunks=[b"abc"] * 4)).sent_bytes == 0
    probe.layer("first.Passing", app, limit=14)
    assert "ended before its answer" in str(probe.http("GET", "/"))
    assert probe.layer("first.Passing", app, other=1).error.type == "TypeError"
    assert probe.layer("first.Nothing", app).error.type == "AttributeError"


def test_requests_under_way_at_once(ask: Asking) -> None:
    probe = ask(LAYERS)
    app = probe.make("app")
    probe.layer("first.Passing", app)
    value(probe, app, "hold")
    begun = [probe.begin(Request("POST", "/", content=bytes(n))) for n in range(40)]
    value(probe, app, "wait", 40)
    assert value(probe, app, "at_once") == 40
    value(probe, app, "release")
    assert [probe.reply(request).json for request in begun] == list(range(40))


def test_a_client_that_leaves(ask: Asking) -> None:
    probe = ask(LAYERS)
    app, log = probe.make("app"), probe.make("recorder")
    probe.layer("first.Listening", app, log=log)
    value(probe, app, "hold")
    first = probe.begin(Request("POST", "/", content=b"abc"))
    probe.leave(first)
    value(probe, app, "release")
    assert probe.reply(first).status == 200
    assert value(probe, log, "calls") == [["http.disconnect"]]
    second = probe.begin(Request("POST", "/", content=b"abc"))
    assert value(probe, app, "bytes_read") == 3 + 0
    assert probe.reply(second).json == 3
    silent = probe.make("app")
    probe.layer("first.Passing", silent, limit=14)
    value(probe, silent, "hold")
    third = probe.begin(Request("GET", "/"))
    probe.leave(third)


# The service

FOUND = """
from contextlib import asynccontextmanager
from fastapi import APIRouter, Request, UploadFile

@asynccontextmanager
async def lifespan(app):
    app.state.log = ["up", app.state.classifier.name]
    yield {"given": 1}

router = APIRouter(lifespan=lifespan)

@router.get("/state")
def state(request: Request):
    return [request.app.state.log, request.state.given, request.app.state.classifier.labels]

@router.post("/many")
def many(files: list[UploadFile]):
    return [[file.filename, file.size] for file in files]
"""


def test_a_lifespan_by_name_with_a_stand_in_on_the_state(ask: Asking) -> None:
    probe = ask(FOUND, limit=60)
    classifier = probe.make("classifier", labels=["a", "b", "c"], name="colours")
    assert probe.start(state={"classifier": classifier}, lifespan=("first",)).error is None
    assert probe.http("GET", "/state").json == [["up", "colours"], 1, ["a", "b", "c"]]
    assert probe.start(lifespan=("first",)).error.type == "AttributeError"
    assert probe.start(state={"classifier": classifier}, lifespan=("nothing",)).error.type == "ModuleNotFoundError"


def test_one_field_sent_several_times(ask: Asking) -> None:
    probe = ask(FOUND)
    files = [("files", (f"{n}.jpg", bytes(n), "image/jpeg")) for n in range(3)]
    request = Request("POST", "/many", files=files)
    assert probe.send(request).json == [["0.jpg", 0], ["1.jpg", 1], ["2.jpg", 2]]
    assert "files='2.jpg' (2 bytes" in str(request)


def test_a_request_and_an_engine_that_fails(ask: Asking) -> None:
    probe = ask(
        APP
        + """
@router.get("/")
async def root(request: Request):
    return await request.app.state.engine(request, b"")

def told(request):
    request.state.id = 1
    return [request.method, request.url.path, request.state.id]
"""
    )
    assert probe.call("first.told", probe.make("request", "/cats/1", method="POST")).value == ["POST", "/cats/1", 1]
    probe.start(state={"engine": probe.make("engine", raises=probe.make("error", "no memory"))})
    error = probe.http("GET", "/").error
    assert error is not None
    assert (error.type, error.message) == ("RuntimeError", "no memory")


# The network

FETCH = """
import socket
import httpx2

def look(host): return [info[4][0] for info in socket.getaddrinfo(host, 80, type=socket.SOCK_STREAM)]

async def get(url, follow=False):
    async with httpx2.AsyncClient(trust_env=False, follow_redirects=follow) as client:
        response = await client.get(url)
        return [response.status_code, response.headers.get("location"), response.content]

async def first_byte(url):
    async with httpx2.AsyncClient(trust_env=False) as client, client.stream("GET", url) as response:
        async for chunk in response.aiter_raw():
            return chunk
"""

PAGES = {
    "/cat.jpg": (200, {"content-type": "image/jpeg"}, b"meow"),
    "/away": (302, {"location": "http://inside.test:{port}/cat.jpg"}, b""),
    "/drip": (200, {}, None),
}


def test_pages_and_names(ask: Asking) -> None:
    look_up, connect = socket.getaddrinfo, socket.socket.connect
    probe = ask(FETCH)
    base = probe.serve(
        PAGES,
        {
            "photos.test": ["93.184.216.34", "10.0.0.7"],
            "two.test": [["93.184.216.34", "::1"]],
            "inside.test": ["127.0.0.1"],
        },
    )
    port = base.rpartition(":")[2]
    assert probe.call("first.get", f"{base}/cat.jpg?x=1").value == [200, None, b"meow"]
    assert probe.call("first.get", f"{base}/none").value[0] == 404
    assert probe.served() == [("/cat.jpg?x=1", f"127.0.0.1:{port}"), ("/none", f"127.0.0.1:{port}")]
    assert [probe.call("first.look", "photos.test").value for _ in range(3)] == [
        ["93.184.216.34"],
        ["10.0.0.7"],
        ["10.0.0.7"],
    ]
    assert probe.call("first.look", "two.test").value == ["93.184.216.34", "::1"]
    assert probe.call("first.look", "LocalHost.").value == ["127.0.0.1"]
    assert probe.call("first.look", "127.1").value == ["127.0.0.1"]
    assert probe.call("first.look", "example.org").error.type == "gaierror"
    assert probe.lookups() == ["photos.test"] * 3 + ["two.test", "localhost", "example.org"]
    ask.close()
    assert (socket.getaddrinfo, socket.socket.connect) == (look_up, connect)
    assert "connect" not in vars(socket.socket)


def test_connections_stay_on_this_machine(ask: Asking) -> None:
    probe = ask(FETCH)
    base = probe.serve(PAGES, {"photos.test": ["93.184.216.34"], "inside.test": ["127.0.0.1"]})
    port = base.rpartition(":")[2]
    assert probe.call("first.get", "http://photos.test/cat.jpg").value == [200, None, b"meow"]
    assert probe.call("first.get", "http://93.184.216.34:8080/away").value[:2] == [
        302,
        f"http://inside.test:{port}/cat.jpg",
    ]
    assert probe.call("first.get", "http://photos.test/away", follow=True).value[2] == b"meow"
    assert probe.call("first.get", "http://10.0.0.7/cat.jpg").error.type == "ConnectError"
    assert probe.dialled() == [
        "93.184.216.34:80",
        "93.184.216.34:8080",
        "93.184.216.34:80",
        f"127.0.0.1:{port}",
        "10.0.0.7:80",
    ]
    assert probe.served()[0] == ("/cat.jpg", "photos.test")


def test_a_page_that_never_ends(ask: Asking) -> None:
    probe = ask(FETCH)
    base = probe.serve(PAGES)
    assert probe.call("first.first_byte", f"{base}/drip").value == b"\0"
    probe.spawn("first.get", f"{base}/drip")
    ask.close()


# Logs

LOGGING = """
import json, logging, sys
from contextvars import ContextVar

current = ContextVar("current", default="none")

class Plain(logging.Formatter):
    def format(self, record):
        return json.dumps([record.getMessage(), getattr(record, "n", None), current.get(), bool(record.exc_info)])

def talk(stream=None):
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Plain())
    logging.getLogger().addHandler(handler)
    logging.getLogger("answer").info("heard %d", 1)
    logging.getLogger("answer").info("bad %d", "x")
    logging.getLogger("answer").info("bad %d", 1, 2)
"""


def test_what_a_formatter_makes_of_a_record(ask: Asking) -> None:
    probe = ask(LOGGING)
    written = probe.logged("first.Plain", "took %d", [7], extra={"n": 3}, context={"first.current": "r1"})
    assert written == '["took 7", 3, "r1", false]\n'
    assert probe.logged(probe.keep("first.Plain"), "m", error="bad") == '["m", null, "none", true]\n'
    faulty = probe.logged("first.Plain", "took %d", ["x"])
    assert faulty.startswith("--- Logging error ---")
    assert "%d format" in faulty


def test_a_check_prints_no_log(ask: Asking, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    shown = logging.StreamHandler(sys.stderr)
    monkeypatch.setattr(root, "handlers", [shown])
    probe = ask(LOGGING)
    probe.call("first.talk")
    assert probe.lines()[:2] == ["heard 1", '["heard 1", null, "none", false]']
    assert probe.logs()[0]["message"] == "heard 1"
    stream = probe.make("stream")
    probe.call("first.talk", stream)
    assert value(probe, stream, "getvalue") == '["heard 1", null, "none", false]\n'
    ask.close()
    assert root.handlers == [shown]
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    assert logging.raiseExceptions
    root.warning("printed again")
    assert "printed again" in capfd.readouterr().err


def test_log_records_have_their_context(ask: Asking) -> None:
    probe = ask(
        """
from contextvars import ContextVar
current = ContextVar("request_id", default="none")

class Identify:
    def __init__(self, app): self.app = app
    async def __call__(self, scope, receive, send):
        current.set(scope["path"])
        await self.app(scope, receive, send)
"""
    )
    probe.layer("first.Identify", probe.make("app", logs=True))
    probe.together([Request("GET", "/a"), Request("GET", "/b")])
    told = sorted((record["message"], record["context"]["request_id"]) for record in probe.logs())
    places = ["in a thread", "in the background", "in the endpoint"]
    assert told == [(place, path) for place in places for path in ("/a", "/b")]


def test_other_scopes_are_only_counted(ask: Asking) -> None:
    probe = ask(LAYERS)
    app = probe.make("app")
    layer = probe.keep("first.Passing", app)
    assert probe.call(layer, {"type": "lifespan"}, None, None).error is None
    assert value(probe, app, "scopes") == ["lifespan"]
