"""The load and the client beneath it: every answer is counted for what it is, and nothing waits for ever."""

import asyncio
import hashlib
import math
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import pytest
from fastapi import FastAPI, Request, UploadFile
from fastapi.responses import JSONResponse, Response, StreamingResponse

from labserve import client, samples
from labserve import load as module
from labserve.errors import LabserveError
from labserve.load import Load, finding, load, percentile, plot, table
from labserve.serving import Live, live

app = FastAPI()
PICTURES = {hashlib.sha256(samples.path(name).read_bytes()).hexdigest() for name in samples.names()}
app.state.seen, app.state.asked = set(), 0


@app.get("/health")
async def health() -> str:
    return "well"


@app.post("/predict")
async def predict(request: Request, file: UploadFile, top_k: int = 5) -> Response:
    """Content with a whole sample picture, or with what the test says it sends."""
    digest = hashlib.sha256(await file.read()).hexdigest()
    app.state.seen.add(digest)
    wanted = {request.headers.get("x-digest", digest)} if top_k == 3 else PICTURES
    return JSONResponse(digest, 200 if digest in wanted else 422)


@app.get("/seen")
async def seen() -> int:
    return len(PICTURES & app.state.seen)


@app.post("/chunked")
async def chunked() -> StreamingResponse:
    async def parts() -> AsyncIterator[str]:
        yield "three "
        yield "parts " * 20_000
        yield "of an answer"

    return StreamingResponse(parts())


@app.post("/empty", status_code=204)
async def empty() -> None: ...


@app.post("/farewell")
async def farewell() -> Response:
    return Response("bye", headers={"Connection": "close"})


@app.post("/status/{status}")
async def status(status: int) -> Response:
    return Response("", status)


@app.post("/broken")
async def broken() -> float:
    return 1 / 0


@app.post("/stall")
async def stall() -> None:
    time.sleep(0.3)


@app.post("/die")
async def die() -> None:
    app.state.asked += 1
    if app.state.asked == 5:
        os._exit(1)


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    running = live(app).start()
    yield running
    running.stop()


def run(url: str, **options: object) -> Load:
    return asyncio.run(load(url, **{"clients": 2, "seconds": 0.2} | options))


def test_the_samples_arrive_whole_and_in_turn(server: Live) -> None:
    result = run(server.url, clients=8)
    assert server.client.get("/seen").json() == len(samples.names())
    assert set(result.statuses) == {200}
    assert result.good == len(result.latencies) == result.statuses[200] >= 8
    assert (result.clients, result.refused, result.failed) == (8, 0, 0)
    assert result.seconds >= 0.2
    assert result.rate == pytest.approx(result.good / result.seconds)
    assert 0 < result.p50 <= result.p99
    assert list(result.latencies) == sorted(result.latencies)
    assert 0 < result.client_cpu <= 1
    assert 0 < result.health_p99 <= result.health_worst < math.inf


def test_a_picture_a_path_and_headers_of_one_s_own(server: Live) -> None:
    digest = hashlib.sha256(b"mine").hexdigest()
    own = {"picture": b"mine", "path": "/predict?top_k=3"}
    assert set(run(server.url, **own, headers={"X-Digest": digest}).statuses) == {200}
    assert set(run(server.url, **own, headers={"X-Digest": "another"}).statuses) == {422}


@pytest.mark.parametrize("path", ["/chunked", "/farewell"])
def test_answers_of_every_form_are_read_to_their_end(server: Live, path: str) -> None:
    assert set(run(server.url, path=path).statuses) == {200}


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/status/503", 503, "refused"),
        ("/status/429", 429, "refused"),
        ("/broken", 500, "failed"),
        ("/empty", 204, "failed"),
        ("/nowhere", 404, "failed"),
    ],
)
def test_what_is_not_a_good_answer_is_counted_apart(server: Live, path: str, status: int, kind: str) -> None:
    result = run(server.url, path=path)
    assert set(result.statuses) == {status}  # and none is 0: the connection uvicorn drops is not used again
    assert getattr(result, kind) == sum(result.statuses.values())
    assert (result.good, result.rate, result.latencies) == (0, 0.0, ())
    assert math.isnan(result.p50)


def test_a_stall_counts_for_as_long_as_it_lasts(server: Live) -> None:
    result = run(server.url, path="/stall", clients=1, seconds=0.1)
    assert result.good == 1
    assert result.health_worst > 0.2
    late = [(at, latency) for at, latency in result.health if latency > 0.05]
    assert len(late) > 5
    assert len({round(at + latency, 6) for at, latency in late[1:]}) <= 2  # all wait for the end of a stall


@contextmanager
def answering(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """A server that reads a little of each connection, then does as `answer` says."""
    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.recv(1000)
                answer(connection)
                kept.append(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in kept:
                connection.close()


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", b"no HTTP at all\r\n\r\n"],
    ids=["nothing", "half", "nonsense"],
)
def test_a_server_that_hangs_up_is_a_failure(answer: bytes) -> None:
    def hang_up(connection: socket.socket) -> None:
        connection.sendall(answer)
        connection.close()

    with answering(hang_up) as url:
        result = run(url)
    assert set(result.statuses) == {0}
    assert result.failed == result.statuses[0]
    assert result.health_worst == math.inf


def test_nobody_waits_for_ever_for_a_silent_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    monkeypatch.setattr(client, "LAST", 0.1)
    with answering(lambda connection: None) as url:
        result = run(url, clients=1)
    assert set(result.statuses) == {0}
    assert result.health_p99 == math.inf


def test_a_server_that_dies_ends_no_load() -> None:
    server = live(app).start()
    result = run(server.url, path="/die")
    server.stop()
    assert result.good >= 2
    assert result.failed >= 1


def test_nothing_there_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(LabserveError, match=f"Nothing listens at {url}: start the server first."):
        run(url)


def test_a_load_that_is_interrupted_leaves_nothing_under_way(server: Live) -> None:
    async def interrupted() -> set[asyncio.Task[object]]:
        task = asyncio.create_task(load(server.url, seconds=3600))
        while len(asyncio.all_tasks()) < 4:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(interrupted()) == set()


def made_up(rate: float = 100, health: float = 0.004, **changes: object) -> Load:
    fields = {
        "clients": 8,
        "seconds": 2.0,
        "statuses": {200: int(rate * 2)},
        "latencies": tuple(i / 1000 for i in range(1, int(rate * 2) + 1)),
        "health": ((0.0, health / 2), (0.02, health)),
        "client_cpu": 0.034,
    }
    return Load(**fields | changes)


RESULTS = {
    "blocking": made_up(50, health=1.2),
    "def": made_up(95, health=0.012),
    "batched": made_up(100, statuses={0: 1, 200: 200, 429: 2, 503: 1040, 504: 3}),
}


def test_the_table_is_in_milliseconds() -> None:
    assert table(RESULTS).splitlines() == [
        "          answers/s  p50 ms  p99 ms  refused  failed  /health p99 ms  worst ms  client CPU",
        "blocking       50.0      50      99        0       0           1,200     1,200          3%",
        "def            95.0      95     189        0       0              12        12          3%",
        "batched       100.0     100     198    1,042       4               4         4          3%",
    ]


def test_a_table_says_where_there_was_no_answer() -> None:
    dead = made_up(0, health=math.inf, statuses={0: 7})
    assert table({"dead": dead}).splitlines()[1].split() == ["dead", "0.0", "-", "-", "0", "7", "never", "never", "3%"]


def test_the_finding_follows_the_numbers_and_calls_the_level_ones_level() -> None:
    assert finding(RESULTS) == (
        "def and batched: 100 answers a second, 2.0 times as many as blocking. "
        "/health, 99 times of 100: within 4 ms with batched, within 1,200 ms with blocking."
    )
    assert finding({"before": made_up(98), "after": made_up(100)}) == (
        "All give about 100 answers a second. /health, 99 times of 100: within 4 ms, whichever it is."
    )
    assert finding({"mine": made_up(70)}) == (
        "mine: 70 answers a second, half of them within 70 ms. /health, 99 times of 100: within 4 ms."
    )


def test_the_finding_says_where_there_was_no_answer() -> None:
    dead = made_up(0, health=math.inf)
    assert finding({"dead": dead, "alive": made_up(70)}) == (
        "alive: 70 answers a second, dead none. /health, 99 times of 100: within 4 ms with alive, "
        "no answer to 100% of the questions with dead."
    )
    assert finding({"dead": dead}) == (
        "Not one good answer came. /health, 99 times of 100: no answer to 100% of the questions."
    )


def test_the_plot_names_what_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    figure = plot(RESULTS)
    printed = capsys.readouterr().out
    assert printed.startswith(f"{table(RESULTS)}\n\n")
    assert printed.endswith(f"{textwrap.fill(finding(RESULTS), 100)}\n")
    beats, rates = figure.axes
    for axes in (beats, rates):
        assert axes.get_title()
        assert axes.get_xlabel()
    assert "milliseconds" in beats.get_ylabel()
    assert [label.get_text() for label in rates.get_yticklabels()] == list(RESULTS)
    assert [text.get_text() for text in rates.texts] == ["50", "95", "100"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(RESULTS)
    assert len({(line.get_color(), line.get_linestyle()) for line in beats.lines}) == len(RESULTS)
    assert list(beats.lines[0].get_ydata()) == [600, 1200]


def test_a_plot_of_many_tells_each_from_the_others() -> None:
    figure = plot({f"{n} clients": made_up() for n in range(12)})
    assert len({(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}) == 12
    assert len(figure.legends[0].get_texts()) == 12


def test_percentiles_are_values_that_occurred() -> None:
    hundred = [float(n) for n in range(1, 101)]
    assert [percentile(hundred, percent) for percent in (0, 50, 99, 100)] == [1, 50, 99, 100]
    assert percentile([7.0], 99) == 7.0
    assert math.isnan(percentile([], 50))


def test_the_tools_import_nothing_heavy() -> None:
    code = (
        "import sys, labserve.load, labserve.ordeal, labserve.prometheus\n"
        "heavy = {'torch', 'numpy', 'PIL', 'matplotlib', 'psutil', 'fastapi', 'httpx2', 'IPython'}\n"
        "print(heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")
