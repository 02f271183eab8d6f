"""The probe and its host: what a check can ask of an answer, and what an answer cannot do to it."""

import json
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from labserve import assembly
from labserve.host import Host
from labserve.probe import CannotAsk, Probe, Request
from labserve.wire import Ref
from labserve.workspace import Workspace

from . import tiny as workbook


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    return workbook.make(tmp_path, monkeypatch)


class Overheard:
    """A host that asserts of every message, both ways, that it is JSON to the letter of its standard."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def handle(self, message: str, timeout: float) -> str:
        reply = self.host.handle(message, timeout)
        for text in (message, reply):
            json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        return reply


class Asking:
    """Stores an answer and gives a probe of it."""

    def __init__(self, space: Workspace) -> None:
        self.space = space
        self.hosts: list[Host] = []

    def __call__(self, answer: str, *, limit: float = 5.0, module: str = "first") -> Probe:
        assembly.work_on(self.space, module)
        self.space.begin(self.space.workbook.chapters[0])
        self.space.path(module).write_text(answer)
        host = Host(self.space, module).__enter__()
        self.hosts.append(host)
        return Probe(Overheard(host), seed=1, limit=limit)

    def close(self) -> None:
        while self.hosts:
            self.hosts.pop().__exit__()


@pytest.fixture
def ask(tiny: Workspace) -> Iterator[Asking]:
    asking = Asking(tiny)
    yield asking
    asking.close()


@pytest.fixture
def no_thread_left(ask: Asking) -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    ask.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive(), f"{thread} runs on"


APP = """
from fastapi import APIRouter, Form, Header, HTTPException, Request, UploadFile
router = APIRouter()
"""


# Requests


def test_a_request_and_its_reply(ask: Asking) -> None:
    probe = ask(
        APP
        + """
from fastapi.responses import JSONResponse

@router.get("/items/{name}")
def item(name: str, n: int = 1):
    return JSONResponse({"name": name, "n": n}, 201, headers={"X-Note": "yes"})
"""
    )
    reply = probe.http("GET", "/items/a b", params={"n": 3})
    assert (reply.status, reply.json, reply.headers["x-note"]) == (201, {"name": "a b", "n": 3}, "yes")
    assert reply.error is None
    assert reply.seconds > 0
    assert str(reply) == '201 {"name":"a b","n":3}'
    assert probe.http("GET", "/nowhere").status == 404
    assert probe.http("DELETE", "/items/a").status == 405


def test_bodies_of_every_kind_arrive(ask: Asking) -> None:
    probe = ask(
        APP
        + """
@router.post("/json")
async def json(body: dict):
    return body

@router.post("/upload")
async def upload(file: UploadFile):
    data = await file.read()
    return [file.filename, file.content_type, len(data), data[:2].hex()]

@router.post("/raw")
async def raw(request: Request, x_note: str = Header()):
    body = await request.body()
    return [body.hex(), request.headers["content-type"], x_note]
"""
    )
    assert probe.http("POST", "/json", json={"a": [1, None, {"$bytes": "x"}]}).json == {"a": [1, None, {"$bytes": "x"}]}
    assert probe.http("POST", "/json", json=[1]).status == 422
    assert probe.http("POST", "/upload", files={"file": ("ä.jpg", b"\xff\xd8\x00", "image/jpeg")}).json == [
        "ä.jpg",
        "image/jpeg",
        3,
        "ffd8",
    ]
    assert probe.http(
        "POST", "/raw", content=b"\x00\xff", headers={"X-Note": "n", "Content-Type": "application/x"}
    ).json == ["00ff", "application/x", "n"]


def test_a_body_that_is_not_json_is_none_as_json(ask: Asking) -> None:
    probe = ask(
        APP
        + """
from fastapi import Response

@router.get("/bytes")
def data():
    return Response(b"\\xff\\x00")
"""
    )
    reply = probe.http("GET", "/bytes")
    assert reply.body == b"\xff\x00"
    assert reply.json is None


def test_an_error_in_an_endpoint_is_told_with_the_line_of_the_answer(ask: Asking) -> None:
    probe = ask(
        APP
        + """
def helper(text):
    return int(text)

@router.get("/broken")
async def broken():
    return helper("seven")
"""
    )
    reply = probe.http("GET", "/broken")
    assert reply.status == 500
    assert reply.error is not None
    assert reply.error.type == "ValueError"
    assert "seven" in reply.error.message
    assert reply.error.where == "first.py, line 6: return int(text)"
    assert "because the app raised ValueError" in str(reply)


def test_a_refusal_is_no_error(ask: Asking) -> None:
    probe = ask(
        APP
        + """
@router.get("/no")
def no():
    raise HTTPException(418, "tea", {"X-Pot": "short"})
"""
    )
    reply = probe.http("GET", "/no")
    assert (reply.status, reply.json, reply.headers["x-pot"], reply.error) == (418, {"detail": "tea"}, "short", None)


def test_a_stream_that_breaks_off_keeps_what_was_sent(ask: Asking) -> None:
    probe = ask(
        APP
        + """
from fastapi.responses import StreamingResponse

async def pieces():
    yield b"one"
    raise OSError("gone")

@router.get("/stream")
def stream():
    return StreamingResponse(pieces())
"""
    )
    reply = probe.http("GET", "/stream")
    assert (reply.status, reply.body) == (200, b"one")
    assert reply.error is not None
    assert (reply.error.type, reply.error.message) == ("OSError", "gone")


MEETING = """
import asyncio, threading
async_barrier, barrier = asyncio.Barrier(8), threading.Barrier(8)

@router.get("/async/{n}")
async def meet(n: int):
    await async_barrier.wait()
    return n

@router.get("/threads/{n}")
def meet_in_threads(n: int):
    barrier.wait()
    return n
"""


@pytest.mark.parametrize("kind", ["async", "threads"])
def test_together_is_at_the_same_time(ask: Asking, kind: str) -> None:
    probe = ask(APP + MEETING)
    replies = probe.together([Request("GET", f"/{kind}/{n}") for n in range(8)])
    assert [reply.json for reply in replies] == list(range(8))


def test_errors_of_requests_together_stay_apart(ask: Asking) -> None:
    probe = ask(
        APP
        + """
import asyncio

@router.get("/{n}")
async def odd(n: int):
    await asyncio.sleep(0)
    if n % 2:
        raise ValueError(n)
    return n
"""
    )
    replies = probe.together([Request("GET", f"/{n}") for n in range(6)])
    assert [reply.status for reply in replies] == [200, 500] * 3
    assert [reply.error.message if reply.error else "" for reply in replies] == ["", "1", "", "3", "", "5"]


# Calls


def test_functions_coroutines_classes_and_constants(ask: Asking) -> None:
    probe = ask(
        """
import asyncio
from enum import Enum

LIMIT = 3

def add(a, b=1, *, target=0, name=0):
    return a + b + target + name

async def later(value):
    await asyncio.sleep(0)
    return value

class Counter:
    def __init__(self, start): self.value = start
    def up(self, name=1):
        self.value += name
        return self.value
    async def slow(self): return self.value
    def other(self, counter): return counter is self
"""
    )
    assert probe.call("first.LIMIT").value == 3
    assert probe.call("first.add", 1, b=2, target=3, name=4).value == 10
    assert probe.call("first.later", b"\x00").value == b"\x00"
    made = probe.call("first.Counter", 5).value
    assert isinstance(made, Ref)
    assert made.type == "Counter"
    assert probe.method(made, "up", name=2).value == 7
    assert probe.method(made, "slow").value == 7
    assert probe.method(made, "value").value == 7
    assert probe.method(made, "other", made).value is True
    assert probe.call("first.Counter").error.type == "TypeError"
    missing = probe.call("first.nothing").error
    assert (missing.type, missing.where) == ("AttributeError", "")


def test_what_an_answer_raises_is_told(ask: Asking) -> None:
    probe = ask(
        """
from pydantic import BaseModel, Field, field_validator

class Asked(BaseModel):
    top_k: int = Field(ge=1)
    name: str = "x"

    @field_validator("name")
    @classmethod
    def short(cls, name):
        if len(name) > 3:
            raise ValueError("too long")
        return name

class Rude(Exception):
    def __str__(self): raise RuntimeError
    def errors(self): raise RuntimeError

class Odd(Exception):
    errors = 3

def rude(): raise Rude
def odd(): raise Odd("odd")
def bad_repr():
    class Bad:
        def __repr__(self): raise ValueError("no repr")
    return Bad()
def loop():
    items = []
    items.append(items)
    return items
"""
    )
    assert probe.call("first.Asked", top_k=2).value == {"top_k": 2, "name": "x"}
    error = probe.call("first.Asked", top_k=0, name="long").error
    assert error.type == "ValidationError"
    assert [(detail["loc"], detail["type"]) for detail in error.details] == [
        (["top_k"], "greater_than_equal"),
        (["name"], "value_error"),
    ]
    assert probe.call("first.rude").error.type == "Rude"
    assert probe.call("first.odd").error.message == "odd"
    assert probe.call("first.bad_repr").error.message == "no repr"
    assert probe.call("first.loop").error.type == "RecursionError"


def test_a_module_that_cannot_be_loaded_is_told(ask: Asking) -> None:
    probe = ask("import nothing_of_this_name")
    assert probe.call("first.greet").error.where == "first.py, line 1: import nothing_of_this_name"
    with pytest.raises(CannotAsk, match="No module named"):
        probe.http("GET", "/")
    assert "SyntaxError" in str(ask("def greet(:").call("first.greet"))


# Logs


def test_logs_have_their_extra_fields_and_come_once(ask: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's own raise where others print
    probe = ask(
        APP
        + """
import logging
log = logging.getLogger("answer")

@router.get("/log")
def logs():
    log.info("took %d ms", 7, extra={"request_id": "r1", "sizes": {"a": 1}, "nothing": None})
    log.debug("unheard")
    log.info("one %s", 1, 2)
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("failed")
"""
    )
    assert probe.http("GET", "/log").status == 200
    first, faulty, failed = probe.logs()
    assert (first["name"], first["levelname"], first["message"]) == ("answer", "INFO", "took 7 ms")
    assert (first["request_id"], first["sizes"], first["nothing"]) == ("r1", {"a": 1}, None)
    assert "one %s" in faulty["message"]
    assert "division by zero" in str(failed["exc_info"])
    assert probe.logs() == []


def test_logs_are_heard_whatever_the_answer_sets_up(ask: Asking) -> None:
    level = logging.getLogger().level
    probe = ask(
        APP
        + """
import logging, logging.config
logging.config.dictConfig({"version": 1, "root": {"level": "ERROR", "handlers": []}, "disable_existing_loggers": False})

@router.get("/log")
def logs():
    logging.getLogger("answer").info("heard")
"""
    )
    probe.start()
    probe.http("GET", "/log")
    assert [record["message"] for record in probe.logs()] == ["heard"]
    ask.close()
    assert logging.getLogger().level == level


# Starting


LIFESPAN = """
from contextlib import asynccontextmanager

@asynccontextmanager
async def lifespan(app):
    app.state.log = ["up"]
    yield {"given": "by the lifespan"}

router = APIRouter(lifespan=lifespan)

@router.get("/state")
def state(request: Request):
    state = request.app.state
    classifier = getattr(state, "classifier", None)
    return {
        "model": state.settings.model,
        "log": getattr(state, "log", None),
        "given": getattr(request.state, "given", None),
        "name": classifier and classifier.spec.name,
    }
"""


def test_start_with_settings_state_and_lifespan(ask: Asking) -> None:
    probe = ask(APP + LIFESPAN)
    assert probe.http("GET", "/state").json == {"model": "small", "log": None, "given": None, "name": None}
    assert probe.start(settings={"model": "large"}, state={"classifier": {"spec": {"name": "c"}}}).error is None
    assert probe.http("GET", "/state").json == {"model": "large", "log": None, "given": None, "name": "c"}
    assert probe.start(lifespan=True).error is None
    answer = {"model": "small", "log": ["up"], "given": "by the lifespan", "name": None}
    assert probe.http("GET", "/state").json == answer
    assert probe.start(settings={"model": 3}).error.type == "ValidationError"


@pytest.mark.parametrize("raised", ["ValueError('no weights')", "SystemExit('no weights')"])
def test_a_start_up_that_raises_is_told(ask: Asking, raised: str) -> None:
    probe = ask(APP + LIFESPAN.replace('app.state.log = ["up"]', f"raise {raised}"))
    error = probe.start(lifespan=True).error
    assert (error.type, error.message) == (raised.partition("(")[0], "no weights")
    assert error.where.startswith("first.py, line 9: raise")


def test_a_shutdown_that_raises_does_no_harm(ask: Asking, no_thread_left: None) -> None:
    probe = ask(APP + LIFESPAN.replace('yield {"given": "by the lifespan"}', "yield\n    1 / 0"))
    assert probe.start(lifespan=True).error is None
    assert probe.start(lifespan=True).error is None
    assert probe.http("GET", "/state").status == 200


def test_the_shutdown_runs(ask: Asking, tmp_path: Path) -> None:
    done = tmp_path / "done"
    text = LIFESPAN.replace(
        'yield {"given": "by the lifespan"}', f'yield\n    __import__("pathlib").Path({str(done)!r}).touch()'
    )
    assert ask(APP + text).start(lifespan=True).error is None
    ask.close()
    assert done.exists()


# Answers that do not end, or that end too much


LOOPS = {
    "a def endpoint": ("@router.get('/')\ndef spin():\n    while True:\n        pass", "/"),
    "an async endpoint": ("@router.get('/')\nasync def spin():\n    while True:\n        pass", "/"),
    "an endpoint that waits": (
        "import asyncio\n@router.get('/')\nasync def spin():\n    while True:\n        await asyncio.sleep(0)",
        "/",
    ),
    "a function": ("def spin():\n    while True:\n        pass", "first.spin"),
    "a module": ("while True:\n    pass", "first.spin"),
    "a start-up": (LIFESPAN.replace('app.state.log = ["up"]', "while True: pass"), "start"),
    "a shutdown": (LIFESPAN.replace('yield {"given": "by the lifespan"}', "yield\n    while True: pass"), "stop"),
    "a thread of its own": (
        "import threading as t\ndef spin():\n    while True: pass\n"
        "@router.get('/')\ndef start():\n    thread = t.Thread(target=spin)\n    thread.start()\n    thread.join()",
        "/",
    ),
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("where", LOOPS)
def test_an_endless_loop_is_ended(ask: Asking, no_thread_left: None, where: str, capfd) -> None:
    answer, target = LOOPS[where]
    probe = ask(APP + answer, limit=0.3)
    if target == "stop":
        probe.limit = 5
        assert probe.start(lifespan=True).error is None
    else:
        with pytest.raises(TimeoutError):
            if target == "/":
                probe.http("GET", "/")
            elif target == "start":
                probe.start(lifespan=True)
            else:
                probe.call(target)
    ask.close()
    shown = capfd.readouterr()
    assert shown.out + shown.err == ""


def test_after_its_time_a_host_answers_nothing_and_the_next_one_works(ask: Asking) -> None:
    text = "import threading\ngate = threading.Event()\ndef wait(): gate.wait()\nOBJECT = object()"
    probe = ask(text, limit=0.1)
    first = probe.call("first.OBJECT").value
    probe.limit = 0.1
    with pytest.raises(TimeoutError):
        probe.call("first.wait")
    with pytest.raises(TimeoutError):
        probe.call("first.OBJECT")
    ask.close()
    again = ask(text, limit=5)
    assert again.call("first.OBJECT").value.repr != first.repr, "the module was not loaded anew"


STUBBORN = """
import os, time
def spin():
    while not os.environ.get("STOP_SPINNING"):
        try:
            time.sleep(0.001)
        except BaseException:
            pass
"""


@pytest.mark.parametrize("at_import", [False, True])
def test_one_that_cannot_be_ended_does_not_hold_up_the_rest(
    ask: Asking, no_thread_left: None, monkeypatch: pytest.MonkeyPatch, at_import: bool
) -> None:
    """It catches all that is raised in it; at import it holds the lock of its module, too."""
    try:
        probe = ask(STUBBORN + "spin()\n" * at_import, limit=0.1)
        with pytest.raises(TimeoutError):
            probe.call("first.spin")
        ask.close()
        assert ask("def greet(name): return name").call("first.greet", "a").value == "a"
    finally:
        monkeypatch.setenv("STOP_SPINNING", "1")


@pytest.mark.parametrize("last", ["sys.exit(3)", "raise KeyboardInterrupt", "raise SystemExit"])
def test_an_answer_that_ends_the_process_is_told_and_ends_nothing(ask: Asking, last: str, no_thread_left: None) -> None:
    name = "SystemExit" if "ys" in last else last.split()[1]
    probe = ask(
        APP
        + f"""
import sys
def end():
    {last}

async def end_later():
    {last}

@router.get("/def")
def in_thread():
    {last}

@router.get("/async")
async def in_loop():
    {last}
"""
    )
    for target in ("end", "end_later"):
        assert probe.call(f"first.{target}").error.type == name
    for path in ("/def", "/async"):
        reply = probe.http("GET", path)
        assert (reply.status, reply.error.type) == (500, name)
        assert last in reply.error.where
    assert probe.http("GET", "/openapi.json").status == 200
    at_import = ask(f"import sys\n{last}")
    assert at_import.call("first.end").error.type == name


def test_an_exit_under_middleware_is_told(ask: Asking, no_thread_left: None) -> None:
    """Starlette runs the app below such middleware in a task of its own, from which asyncio lets SystemExit out."""
    probe = ask(
        APP
        + """
import sys

async def pass_on(request, call_next):
    return await call_next(request)

def install(app):
    app.middleware("http")(pass_on)

@router.get("/end")
async def end():
    sys.exit("bye")

@router.get("/fine")
async def fine():
    return 1
"""
    )
    reply = probe.http("GET", "/end")
    assert reply.status == 500
    assert reply.error is not None
    assert probe.http("GET", "/fine").json == 1


@pytest.mark.parametrize("endpoint", ["def", "async def"])
def test_an_interrupt_while_an_answer_spins_ends_it(ask: Asking, no_thread_left: None, endpoint: str) -> None:
    """What "interrupt the kernel" does: KeyboardInterrupt in the thread that waits for the reply."""
    probe = ask(
        f"{APP}import os\n@router.get('/')\n{endpoint} spin():\n    os.kill(os.getpid(), 2)\n    while True: pass",
        limit=30,
    )
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    try:
        with pytest.raises(KeyboardInterrupt) as interrupt:
            probe.http("GET", "/")
    finally:
        signal.signal(signal.SIGINT, before)
    ask.hosts.pop().__exit__(interrupt.type)


def test_tasks_and_threads_left_behind_print_nothing(ask: Asking, capfd) -> None:
    probe = ask(
        APP
        + """
import asyncio
tasks = []

async def forever():
    await asyncio.Event().wait()

async def fail():
    raise ValueError

@router.get("/")
async def start():
    tasks.extend([asyncio.create_task(forever()), asyncio.create_task(fail())])
    await asyncio.to_thread(sum, [1])
    return 1
"""
    )
    assert probe.http("GET", "/").json == 1
    ask.close()
    assert capfd.readouterr().err == ""


def test_an_answer_may_print_a_lot(ask: Asking, capfd) -> None:
    probe = ask("def talk():\n    for number in range(20_000):\n        print('x' * 80)")
    assert probe.call("first.talk").error is None
    assert len(capfd.readouterr().out) == 20_000 * 81


def test_a_change_of_folder_environment_or_path_does_not_break_the_next_check(
    ask: Asking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ask(f"import os, sys\nos.chdir('/')\nsys.path.clear()\nsys.path.extend({sys.path!r}[1:])\nA = 1").call("first.A")
    assert ask("def greet(): return 1").call("first.greet").value == 1


def test_every_host_closes_what_it_opened(ask: Asking) -> None:
    ask("A = 1").call("first.A")
    ask.close()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        ask("A = 1").call("first.A")
        ask.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


POOL = """
import time
from concurrent.futures import ThreadPoolExecutor
pool = ThreadPoolExecutor(1)
def wait():
    while True: time.sleep(0.001)
def quick(): return pool.submit(sum, [1, 2]).result()
def stuck(): return pool.submit(wait).result()
"""


def test_a_pool_of_threads_of_the_module_works_from_part_to_part(ask: Asking) -> None:
    for _ in range(3):
        assert ask(POOL).call("first.quick").value == 3
        ask.close()
    late = ask(POOL, limit=0.1)
    with pytest.raises(TimeoutError):
        late.call("first.stuck")
    ask.close()
    assert ask(POOL).call("first.quick").value == 3, "the module, and with it the pool, is made anew"
