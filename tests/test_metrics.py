"""The service's metrics, request ids and log lines, under attack: what may not be counted, mixed up or shown."""

import asyncio
import io
import json
import logging
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from fastapi import APIRouter, BackgroundTasks, FastAPI
from fastapi.responses import StreamingResponse
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.parser import text_string_to_metric_families

from labserve import places, samples, zoo
from labserve.standins import Classifier
from solutions import concurrency, metrics
from solutions.app import create_app
from solutions.metrics import JsonFormatter, choose_id, json_logs
from solutions.settings import Settings

CAT = samples.path("cat").read_bytes()
FORM = b"Content-Type: multipart/form-data; boundary=b"
UPLOAD = {"file": ("cat.jpg", CAT, "image/jpeg")}
Key = tuple[str, str, str]


@dataclass
class Running:
    """The reference app with a stand-in for the model, a client that talks to it, and the log that it writes."""

    app: FastAPI
    client: httpx2.AsyncClient
    model: Classifier
    log: io.StringIO

    def lines(self, logger: str = "labserve.access") -> list[dict[str, Any]]:
        """What was logged by this logger, of requests other than those of /metrics."""
        told = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [line for line in told if line["logger"] == logger and line.get("route") != "/metrics"]

    async def counted(self) -> Counter[Key]:
        return metrics.requests_counted((await self.client.get("/metrics")).text)

    async def value(self, name: str) -> float:
        return value((await self.client.get("/metrics")).text, name)


def value(text: str, name: str, **labels: str) -> float:
    """The sum of the samples of this name with these labels."""
    found = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(one.value for one in found if one.name == name and labels.items() <= one.labels.items())


@asynccontextmanager
async def running(prepare: Callable[[FastAPI], object] = lambda app: None, **settings: Any) -> AsyncIterator[Running]:
    app = create_app(Settings(**settings))
    prepare(app)
    app.state.classifier = model = Classifier()
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    log = io.StringIO()
    async with (
        concurrency.lifespan(app),
        metrics.lifespan(app),
        httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client,
    ):
        with json_logs("INFO", log):
            yield Running(app, client, model, log)


def drive(
    test: Callable[[Running], Any], prepare: Callable[[FastAPI], object] = lambda app: None, **settings: Any
) -> None:
    """Run an asynchronous test against a fresh app."""

    async def main() -> None:
        async with asyncio.timeout(30), running(prepare, **settings) as service:
            await test(service)

    asyncio.run(main())


def test_two_apps_in_one_process_count_apart() -> None:
    async def test(first: Running) -> None:
        async with running() as second:
            await first.client.post("/predict", files=UPLOAD)
            assert await first.value("ml_predictions_total") == 1
            assert await second.value("ml_predictions_total") == 0
            assert await second.value("ml_batch_size_count") == 0

    drive(test)


def versioned(app: FastAPI) -> None:
    router = APIRouter()
    router.get("/things/{name}")(lambda name: name)
    app.include_router(router, prefix="/v9")


@pytest.mark.parametrize(
    ("method", "path", "label", "route", "status"),
    [
        ("GET", "/models/resnet18", "GET", "/models/{model_name}", "200"),
        ("GET", "/models/nope", "GET", "/models/{model_name}", "404"),
        ("GET", "/models/a%2Fb", "GET", "unmatched", "404"),
        ("GET", "/nope", "GET", "unmatched", "404"),
        ("GET", "//health", "GET", "unmatched", "404"),
        ("GET", "/health/", "GET", "unmatched", "307"),
        ("GET", "/health?a=b", "GET", "/health", "200"),
        ("HEAD", "/health", "HEAD", "/health", "405"),
        ("OPTIONS", "/predict", "OPTIONS", "/predict", "405"),
        ("BREW", "/health", "other", "/health", "405"),
        ("get", "/health", "other", "/health", "405"),
        ("BREW", "/nope", "other", "unmatched", "404"),
        ("GET", "/docs", "GET", "/docs", "200"),
        ("GET", "/openapi.json", "GET", "/openapi.json", "200"),
        ("GET", "/static-offline-docs/swagger-ui.css", "GET", "/static-offline-docs", "200"),
        ("GET", "/static-offline-docs/../../etc/passwd", "GET", "/static-offline-docs", "404"),
        ("GET", "/v9/things/one", "GET", "/v9/things/{name}", "200"),
    ],
)
def test_labels_are_ours(method: str, path: str, label: str, route: str, status: str) -> None:
    async def test(service: Running) -> None:
        # Straight to the app: a client would tidy method and path.
        name, _, query = path.partition("?")
        scope = {"type": "http", "method": method, "path": name.replace("%2F", "/"), "raw_path": name.encode()}
        await bare(service.app, scope | {"query_string": query.encode()})
        assert dict(await service.counted()) == {(label, route, status): 1}
        [line] = service.lines()
        assert (line["method"], line["route"], str(line["status"])) == (label, route, status)

    drive(test, versioned)


async def bare(app: FastAPI, scope: dict[str, Any], *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """Send one request message by message; what the app sent."""
    waiting = list(messages) or [{"type": "http.request", "body": b""}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return waiting.pop(0) if waiting else await asyncio.Future()

    async def send(message: Any) -> None:
        sent.append(message)

    whole = {
        "http_version": "1.1",
        "scheme": "http",
        "query_string": b"",
        "headers": [],
        "root_path": "",
        "client": None,
    }
    await app(whole | {"server": ("testserver", 80), "state": {}} | scope, receive, send)
    return sent


def test_a_client_cannot_grow_the_exposition() -> None:
    async def test(service: Running) -> None:
        for number in range(3):
            await service.client.request(f"M{number}", f"/{number}", params={"q": number}, headers={"X-A": "b"})
        await service.client.get("/metrics")  # this has its own series from the next time on
        before = len((await service.client.get("/metrics")).text.splitlines())
        for number in range(50):
            await service.client.request(f"M{number}", f"/{number}", headers={"X-Request-ID": f"id-{number}"})
        assert len((await service.client.get("/metrics")).text.splitlines()) == before

    drive(test)


def failing(app: FastAPI) -> None:
    @app.get("/raise")
    def fail() -> None:
        raise ZeroDivisionError

    @app.get("/midway")
    def midway() -> StreamingResponse:
        def parts() -> Iterator[bytes]:
            yield b"one"
            raise ZeroDivisionError

        return StreamingResponse(parts())

    @app.get("/afterwards")
    def afterwards(tasks: BackgroundTasks) -> str:
        tasks.add_task(fail)
        return "done"


@pytest.mark.parametrize(
    ("path", "status"), [("/raise", 500), ("/midway", 200), ("/afterwards", 200)], ids=lambda part: str(part)
)
def test_what_raises_is_counted_once(path: str, status: int) -> None:
    async def test(service: Running) -> None:
        with pytest.raises(ZeroDivisionError):
            await bare(service.app, {"type": "http", "method": "GET", "path": path})
        assert dict(await service.counted()) == {("GET", path, str(status)): 1}
        assert [line["status"] for line in service.lines()] == [status]
        assert await service.value("http_requests_in_flight") == 1  # the one that asks

    drive(test, failing)


def test_a_request_is_told_before_its_answer_ends_and_its_background_tasks_begin() -> None:
    seen: list[int] = []
    services: list[Running] = []

    def later(app: FastAPI) -> None:
        @app.get("/later")
        async def answer(tasks: BackgroundTasks) -> str:
            tasks.add_task(lambda: seen.append(len(services[0].lines())))
            return "done"

    async def test(service: Running) -> None:
        services.append(service)
        await service.client.get("/later")
        assert seen == [1]
        [line] = service.lines()
        assert line["duration_ms"] < 5000

    drive(test, later)


def test_refusals_in_front_are_counted_under_their_route() -> None:
    async def test(service: Running) -> None:
        large = await service.client.post("/predict", content=b"x" * (len(CAT) + 2000))
        assert large.status_code == 413
        service.model.hold()
        first = asyncio.create_task(service.client.post("/predict", files=UPLOAD))
        await service.model.wait(1)
        assert await service.value("http_requests_in_flight") == 2
        second = await service.client.post("/predict", files=UPLOAD)
        assert second.status_code == 503
        service.model.release()
        assert (await first).status_code == 200
        assert dict(await service.counted()) == {("POST", "/predict", status): 1 for status in ("413", "503", "200")}
        ids = [large.headers["x-request-id"], second.headers["x-request-id"], (await first).headers["x-request-id"]]
        assert [line["request_id"] for line in service.lines()] == ids
        assert [large.json()["request_id"], second.json()["request_id"]] == ids[:2]
        assert await service.value("http_requests_in_flight") == 1
        assert await service.value("ml_predictions_total") == 1  # the others never came to the model

    drive(test, max_body_bytes=len(CAT) + 1000, max_in_flight=1, patience=0)


def test_a_client_that_leaves_is_counted_once_and_is_no_fault_of_ours() -> None:
    async def test(service: Running) -> None:
        request = service.client.build_request("POST", "/predict", files=UPLOAD)
        headers = [(name.lower(), value) for name, value in request.headers.raw]
        service.model.hold()
        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers}
        body = {"type": "http.request", "body": request.read()}
        await bare(service.app, scope, body, {"type": "http.disconnect"})
        service.model.release()
        assert [key for key in await service.counted() if key[2].startswith("5")] == []
        assert len(service.lines()) == (await service.counted()).total() == 1
        assert await service.value("http_requests_in_flight") == 1
        exposition = (await service.client.get("/metrics")).text
        assert value(exposition, "ml_predictions_total", status="error") == 0
        assert value(exposition, "ml_predictions_total") == 1

    drive(test)


def test_predictions_are_told_by_kind() -> None:
    async def test(service: Running) -> None:
        service.model.fail_on(2)
        for data in (CAT, b"a text", CAT):
            await service.client.post("/predict", files={"file": ("a", data, "image/jpeg")})
        text = (await service.client.get("/metrics")).text
        for status in ("success", "refused", "error"):
            assert value(text, "ml_predictions_total", model="standin", status=status) == 1
        assert value(text, "ml_prediction_latency_seconds_count") == 3
        assert value(text, "ml_prediction_confidence_count") == 1
        assert value(text, "ml_batch_size_count") == 3

    drive(test)


def chatty(app: FastAPI) -> None:
    def say(where: str, word: str) -> None:
        logging.getLogger("shop").info(where, extra={"word": word})

    @app.get("/say/{word}")
    async def answer(word: str, tasks: BackgroundTasks) -> str:
        tasks.add_task(say, "background", word)  # in a thread of the pool
        say("endpoint", word)
        await asyncio.sleep(0)
        await asyncio.to_thread(say, "thread", word)
        return word

    @app.get("/plain/{word}")
    def plain(word: str) -> str:
        say("pool", word)
        return word


def test_ids_follow_requests_and_never_mix() -> None:
    async def test(service: Running) -> None:
        words = [f"word{number}" for number in range(30)]
        asked = [f"/{kind}/{word}" for word in words for kind in ("say", "plain")]
        replies = await asyncio.gather(
            *(service.client.get(path, headers={"X-Request-ID": path.replace("/", "-")}) for path in asked)
        )
        assert [reply.headers["x-request-id"] for reply in replies] == [path.replace("/", "-") for path in asked]
        told = Counter((line["message"], line["word"], line["request_id"]) for line in service.lines("shop"))
        say = [(where, word, f"-say-{word}") for word in words for where in ("endpoint", "thread", "background")]
        assert told == Counter(say + [("pool", word, f"-plain-{word}") for word in words])
        assert all(line["request_id"] == line["path"].replace("/", "-") for line in service.lines())

    drive(test, chatty)


def test_every_answer_has_its_id() -> None:
    async def test(service: Running) -> None:
        for method, path in (
            ("GET", "/health"), ("GET", "/nope"), ("PUT", "/health"), ("GET", "/raise"), ("POST", "/predict"),
            ("GET", "/docs"), ("GET", "/static-offline-docs/swagger-ui.css"), ("GET", "/metrics"), ("GET", "/health/"),
        ):  # fmt: skip
            reply = await service.client.request(method, path, headers={"X-Request-ID": "order-66"})
            assert reply.headers.get_list("x-request-id") == ["order-66"], path
            if reply.headers.get("content-type") == "application/problem+json":
                assert reply.json()["request_id"] == "order-66"
        [fault] = service.lines("labserve")
        assert fault["request_id"] == "order-66"
        assert fault["message"] == "ZeroDivisionError in request order-66"

    drive(test, failing)


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"a b",
        b"a\r\nSet-Cookie: b",
        b"a\n",
        b"a" * 65,
        b"\xd0\xb8\xd0\xb4",
        b'"}',
        b"<b>",
        b"a/b",
        b"\x00",
        b"a,b",
    ],
)
def test_unsound_ids_are_replaced(given: bytes) -> None:
    async def test(service: Running) -> None:
        scope = {"type": "http", "method": "GET", "path": "/nope", "headers": [(b"x-request-id", given)]}
        start, body = await bare(service.app, scope)
        ids = [value for name, value in start["headers"] if name.lower() == b"x-request-id"]
        assert len(ids) == 1
        assert re.fullmatch(rb"[0-9a-f]{32}", ids[0])
        assert json.loads(body["body"])["request_id"].encode() == ids[0]

    drive(test)


def test_sound_ids_are_kept() -> None:
    for given in ("a", "order-66", "0123456789abcdef" * 4, "A.b_c-D"):
        assert choose_id(given) == given
    assert choose_id(None) != choose_id(None)


class Awkward:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__


def written(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """The line that a log call writes: one, and valid JSON."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.Logger("shop")  # with no handler but this one
    logger.addHandler(handler)
    logger.error(*args, **kwargs)
    text = stream.getvalue()
    assert len(text.splitlines()) == 1, text
    line: dict[str, Any] = json.loads(text, parse_constant=refuse)
    json.dumps(line, ensure_ascii=False).encode()  # whole characters
    return line


HIDDEN = "[hidden]"
CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("args", "extra", "shown"),
    [
        (("one\ntwo\r\u2028three\x00",), {}, {"message": "one\ntwo\r\u2028three\x00"}),
        (('"} {"level": "INFO"}',), {}, {"level": "ERROR"}),
        (("half \ud83d a face",), {"path": "\udcff"}, {"message": "half ? a face", "path": "?"}),
        (("%d apples", "many"), {}, {"message": "%d apples ['many']"}),
        (("%s and %s", 1), {}, {"message": "%s and %s [1]"}),
        (("%(a)s", {"b": 1}), {}, {"message": "%(a)s {'b': 1}"}),
        (("100%",), {}, {"message": "100%"}),
        (("got %s", b"\xff\xd8" * 500), {}, {"message": "got [1000 bytes]"}),
        ((Awkward(),), {}, {"level": "ERROR"}),
        (("%s", Awkward()), {}, {"level": "ERROR"}),
        (("a",), {"x": Awkward(), "y": 1}, {"y": 1}),
        (("a",), {"x": math.nan, "y": -math.inf}, {"x": "nan", "y": "-inf"}),
        (("a",), {"x": CIRCLE, "y": 1}, {"y": 1}),
        (("a",), {"x": {1: {2: {None: b"abc"}}}}, {"x": {"1": {"2": {"None": "[3 bytes]"}}}}),
        (("a",), {"x": {"\ud83d": (1, {2})}}, {"x": {"?": [1, [2]]}}),
        (("a",), {"x": ValueError("no"), "y": 10**30}, {"x": "ValueError('no')", "y": 10**30}),
        (("a",), {"password": "p", "Api-Key": "p", "apikey": "p"}, dict.fromkeys(("password", "Api-Key"), HIDDEN)),
        (
            ("a",),
            {"h": {"Set-Cookie": "p", "of": [{"TOKEN": "p"}]}},
            {"h": {"Set-Cookie": HIDDEN, "of": [{"TOKEN": HIDDEN}]}},
        ),
        (("a",), {"level": "FINE", "time": "noon"}, {"level": "ERROR", "level_": "FINE", "time_": "noon"}),
        (
            ("a",),
            {"request_id": "mine", "exception": "b"},
            {"request_id": None, "request_id_": "mine", "exception": "b"},
        ),
        (("a",), {"body": bytearray(7), "view": memoryview(b"1234")}, {"body": "[7 bytes]", "view": "[4 bytes]"}),
        (("a",), {"color_message": "\x1b[31ma", "y": 1}, {"y": 1}),
    ],
)
def test_a_log_line_is_always_one_line_of_json(
    args: tuple[Any, ...], extra: dict[str, Any], shown: dict[str, Any]
) -> None:
    line = written(*args, extra=extra)
    assert {name: line.get(name) for name in shown} == shown
    assert "color_message" not in line
    assert '"p"' not in json.dumps(line)


def test_exceptions_are_told() -> None:
    assert "exception" not in written("a", exc_info=True)  # where there is none
    try:
        raise ValueError("one\ntwo \ud83d")
    except ValueError as error:
        told = written("a", exc_info=error, extra={"exception": "other"})
    assert "ValueError: one\ntwo ?" in told["exception"]
    assert "Traceback" in told["exception"]
    assert told["exception_"] == "other"


def test_a_record_is_left_as_it_was() -> None:
    record = logging.makeLogRecord({"msg": "got %s", "args": (b"abc",), "token": "t"})
    before = dict(vars(record))
    JsonFormatter().format(record)
    assert vars(record) == before


def test_the_lesson_s_formatter_drops_extra_and_its_call_raises() -> None:
    class JSONFormatter(logging.Formatter):  # as the lesson has it, but for the deprecated clock
        def format(self, record: logging.LogRecord) -> str:
            log_data = {"level": record.levelname, "message": record.getMessage(), "module": record.module}
            if hasattr(record, "request_id"):
                log_data["request_id"] = record.request_id
            return json.dumps(log_data)

    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JSONFormatter())
    logger = logging.Logger("lesson")
    logger.addHandler(handler)
    logger.info("Prediction successful", extra={"result": "tabby"})
    assert "tabby" not in stream.getvalue()
    with pytest.raises(KeyError, match="filename"):
        logger.info("Prediction started", extra={"filename": "cat.jpg"})


def logging_now() -> list[Any]:
    loggers = [
        logging.getLogger(name) for name in ("", "uvicorn", "uvicorn.error", "uvicorn.access", "labserve.access")
    ]
    return [(one.level, one.handlers[:], one.propagate, one.disabled) for one in loggers]


def test_logging_is_put_back_after_the_service() -> None:
    before = logging_now()

    async def test(service: Running) -> None:
        assert logging_now() != before
        assert logging.getLogger("uvicorn.access").disabled

    drive(test)
    assert logging_now() == before
    with pytest.raises(ZeroDivisionError):
        drive(lambda service: 1 / 0)  # type: ignore[arg-type, return-value]
    assert logging_now() == before


def test_the_server_s_own_lines_are_json_and_its_access_log_rests() -> None:
    stream = io.StringIO()
    with json_logs("INFO", stream):
        logging.getLogger("uvicorn.error").info("Started", extra={"color_message": "\x1b[36mStarted"})
        logging.getLogger("uvicorn.access").info("GET /")
    [line] = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert (line["logger"], line["message"]) == ("uvicorn.error", "Started")


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool comes with Debian's package prometheus")
def test_promtool_finds_no_fault_with_the_exposition() -> None:
    async def test(service: Running) -> None:
        for data in (CAT, b"a text"):
            await service.client.post("/predict", files={"file": ("a", data, "image/jpeg")})
        text = (await service.client.get("/metrics")).content
        found = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
        assert (found.returncode, found.stdout, found.stderr) == (0, b"", b"")

    drive(test)


@pytest.mark.parametrize("alive", [True, False])
def test_gauges_of_a_dead_worker_are_forgotten(alive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr(psutil, "pid_exists", lambda pid: alive)
    labels = json.dumps(["http_requests_in_flight", "http_requests_in_flight", {}, "help"])
    file = MmapedDict(str(tmp_path / "gauge_livesum_123.db"))
    file.write_value(labels, 4.0, 0.0)
    file.close()
    assert (b"http_requests_in_flight 4.0" in metrics.Metrics().exposition()) == alive


# Two workers: real processes, each with the bundled model.


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def two_workers(folder: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "solutions.app:app", "--workers", "2", "--port", str(port)]
    env = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder), "LABSERVE_MODEL": zoo.BUNDLED, "OMP_NUM_THREADS": "1"}
    server = psutil.Popen(
        command, env=env, cwd=places.REFERENCE.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        family = [*server.children(recursive=True), server]
        server.terminate()
        for process in psutil.wait_procs(family, timeout=10)[1]:
            process.kill()
        server.wait(10)


def eventually(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def workers(folder: Path) -> set[int]:
    """The workers that have begun: each has opened its file of gauges."""
    return {int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_livesum_*.db")}


def in_flight(folder: Path, pid: int) -> float:
    found = MmapedDict.read_all_values_from_file(str(folder / f"gauge_livesum_{pid}.db"))
    return sum(number for key, number, *_ in found if "http_requests_in_flight" in key)


def ask(url: str, path: str = "/health") -> httpx2.Response | None:
    """Ask on a connection of its own, which either worker may take; None where nobody listens yet."""
    try:
        return httpx2.get(url + path, timeout=60)
    except httpx2.ConnectError:
        return None


def test_two_workers_count_as_one(tmp_path: Path) -> None:
    def told(name: str, **labels: str) -> float:
        reply = ask(url, "/metrics")
        assert reply is not None
        return value(reply.text, name, **labels)

    def healthy() -> int:
        reply = ask(url)
        return 0 if reply is None else 1

    sent = 0
    with two_workers(tmp_path) as url:
        eventually(lambda: healthy() == 1)
        sent += 1
        while len(list(tmp_path.glob("counter_*.db"))) < 2 and sent < 500:  # until both have answered
            sent += healthy()
        assert len(list(tmp_path.glob("counter_*.db"))) == 2
        for _ in range(4):  # whichever is asked
            assert told("http_requests_total", route="/health", status="200") == sent
            assert told("http_requests_in_flight") == 1

        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as stuck:
            stuck.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n" + FORM + b"\r\n\r\n")
            eventually(lambda: told("http_requests_in_flight") == 2)
            [busy] = [pid for pid in workers(tmp_path) if in_flight(tmp_path, pid)]
            before = workers(tmp_path)
            os.kill(busy, signal.SIGKILL)
            eventually(lambda: bool(workers(tmp_path) - before))  # another one takes its place
        assert told("http_requests_in_flight") == 1
        assert told("http_requests_total", route="/health", status="200") == sent
