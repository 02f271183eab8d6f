"""The comparison of frameworks: the four apps do the same, and the table says what was measured."""

import dataclasses
import json
import socket
import threading
from functools import partial

import pytest

from labserve.errors import LabserveError
from labserve.frameworks import Comparison, Row, compare, plot, share_of_request
from labserve.frameworks.apps import CLASSES, FRAMEWORKS, WAIT, serve
from labserve.frameworks.load import load
from labserve.serving import Live

WRONG_TYPE = {"FastAPI": 422, "Flask": 200, "Django": 500, "Tornado": 500}


@pytest.fixture(scope="module")
def measured() -> Comparison:
    return compare(rounds=1, seconds=0.02, connections=2, waits=2, threads=2)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_apps_give_the_same_answers(framework: str) -> None:
    with Live(partial(serve, framework, 2)) as client:
        answers = [client.get(path).json() for path in ("/predict?top_k=2", "/predict", "/features")]
    two, all_five = {"top_k": 2, "classes": CLASSES[:2]}, {"top_k": 5, "classes": CLASSES}
    assert answers == [two, all_five, {"waited": WAIT}]


def test_every_framework_is_measured(measured: Comparison) -> None:
    assert [row.framework for row in measured.rows] == list(FRAMEWORKS)
    for row in measured.rows:
        assert row.alone > 0
        assert row.together > 0
        assert row.waiting >= WAIT
        assert row.framework in row.versions
        assert row.versions in measured.table()
    assert 0 <= measured.client_cpu <= 1


def test_a_wrong_type_gets_the_status_that_the_text_names(measured: Comparison) -> None:
    assert {row.framework: row.wrong_type for row in measured.rows} == WRONG_TYPE
    bodies = {row.framework: row.wrong_answer for row in measured.rows}
    assert "valid integer" in bodies["FastAPI"]
    assert json.loads(bodies["Flask"])["top_k"] == 5  # the default, without a word


def test_lines_count_the_handler_and_its_route(measured: Comparison) -> None:
    assert {row.framework: row.lines for row in measured.rows} == {
        "FastAPI": 3,
        "Flask": 4,
        "Django": 4,
        "Tornado": 5,
    }


def made_up() -> Comparison:
    first = Row("FastAPI", "FastAPI 1", 4000.0, 5000.0, 0.1, 422, "", 3)
    rows = (
        first,
        dataclasses.replace(first, framework="Tornado", alone=3000.0, together=4800.0, wrong_type=500),
        Row("Flask", "Flask 3", 2000.0, 2500.0, 0.8, 200, "", 4),
    )
    return Comparison(rows, rounds=3, connections=16, waits=32, threads=4, spread=0.05, client_cpu=0.2)


def test_the_table_gives_figures_and_ratios() -> None:
    lines = made_up().table().splitlines()
    assert lines[0].split("  ")[-1].strip() == "lines"
    assert lines[3].split() == ["Flask", "3", "2,000", "x2.0", "2,500", "x2.0", "0.80", "x8.0", "200", "4"]
    assert "up to 5% off" in lines[5]
    assert "4 threads" in lines[6]


def test_the_finding_follows_the_numbers_and_calls_the_level_ones_level() -> None:
    assert made_up().finding() == (
        "Small answers come fastest from FastAPI and Tornado, 2.0 times as many as from Flask; "
        "32 requests that wait take 0.10 s with FastAPI and Tornado and 0.80 s with Flask; "
        "a top_k of the wrong type gets 200 from Flask, 422 from FastAPI, 500 from Tornado."
    )


def test_a_model_dwarfs_the_framework() -> None:
    assert share_of_request(overhead_us=1000, forward_ms=9) == pytest.approx(0.1)
    assert made_up().beside_a_model(forward_ms=9.5) == (
        "Beside a forward pass of 9.5 ms, the 500 µs of Flask are 5.0% of a request, "
        "the 250 µs of FastAPI 2.6%: "
        "the change from one to the other turns 100.0 predictions per second into 102.6."
    )


def test_the_plot_names_everything_it_shows() -> None:
    figure = plot(made_up())
    rates, waits = figure.axes
    for axes in (rates, waits):
        assert axes.get_title()
        assert axes.get_xlabel()
        assert [label.get_text() for label in axes.get_yticklabels()] == ["FastAPI", "Tornado", "Flask"]
    assert [text.get_text() for text in waits.texts] == ["0.10", "0.10", "0.80"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one by one", "16 at once"]


def test_an_unknown_framework_is_named() -> None:
    with pytest.raises(LabserveError, match="no framework 'Bottle' here; there are FastAPI, Flask"):
        compare(["Bottle"])


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", RuntimeError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", ConnectionError),
    ],
)
def test_a_load_on_a_broken_server_is_an_error(answer: bytes, error: type[Exception]) -> None:
    def answer_once(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=answer_once, args=(listener,))
        server.start()
        with pytest.raises(error):
            load(listener.getsockname()[1], "/", connections=1, seconds=0)
        server.join()
