"""The ordeal: each upload has an honest row, also where the server stalls, swells, falls silent or dies."""

import asyncio
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI, HTTPException, UploadFile

from labserve import client, ordeal
from labserve.ordeal import Row, free_memory, matrix
from labserve.serving import Live, live
from labserve.tray import Hostile, tray

app = FastAPI()
app.state.kept = []


@app.get("/health")
async def health() -> str:
    return "well"


@app.post("/predict")
async def predict(file: UploadFile) -> str:
    match await file.read():
        case b"bad":
            raise HTTPException(422)
        case b"swell":
            app.state.kept.append(b"x" * 100_000_000)
        case b"stall":
            time.sleep(0.3)
        case b"silence":
            await asyncio.Event().wait()
        case b"die":
            os._exit(1)
    return f"{file.filename} {file.content_type}"


@pytest.fixture
def server() -> Iterator[Live]:
    running = live(app).start()
    yield running
    running.stop()


def sending(*texts: str) -> list[Hostile]:
    return [Hostile(text, text.encode, "cat.jpg", "image/jpeg", 200, "") for text in texts]


def undergo(server: Live, *texts: str) -> list[Row]:
    return asyncio.run(ordeal.ordeal(server, sending(*texts)))


def test_a_row_tells_what_the_upload_did(server: Live) -> None:
    good, bad, swell, stall = undergo(server, "good", "bad", "swell", "stall")
    assert [(row.name, row.expected, row.status, row.right) for row in (good, bad)] == [
        ("good", 200, 200, True),
        ("bad", 200, 422, False),
    ]
    assert 90 < swell.peak_mb < 200
    assert good.peak_mb < 50
    assert stall.seconds >= 0.3
    assert stall.health_worst > 0.2
    assert 0 < good.health_worst < math.inf
    assert not any(row.note for row in (good, bad, swell, stall))


def test_a_server_that_dies_or_falls_silent_is_started_anew(server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordeal, "PATIENCE", 0.5)
    monkeypatch.setattr(client, "LAST", 0.1)
    first = server.pid
    died, good, silent, again = undergo(server, "die", "good", "silence", "good")
    assert [(row.status, row.note) for row in (died, good, silent, again)] == [
        (0, "the connection broke"),
        (200, ""),
        (0, "no answer within 0.5 s"),
        (200, ""),
    ]
    assert died.health_worst == math.inf
    assert silent.seconds >= 0.5
    assert silent.health_worst < math.inf
    assert server.pid != first
    assert server.client.get("/health").status_code == 200


def test_what_there_is_no_memory_for_is_not_sent(server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(ordeal.NEEDS_GB) <= {hostile.name for hostile in tray()}
    monkeypatch.setattr(ordeal, "free_memory", lambda: 3_140_000_000)
    thin, good = undergo(server, "thin line", "good")
    assert thin.note == "not sent: it can take 6 GB, and 3.1 GB are free here"
    assert (thin.status, thin.seconds, thin.right) == (0, 0, False)
    assert good.right


def test_the_whole_tray_is_sent_where_nothing_else_is_named(server: Live) -> None:
    rows = asyncio.run(ordeal.ordeal(server))
    assert [(row.name, row.expected) for row in rows] == [(hostile.name, hostile.expected) for hostile in tray()]
    assert {row.status for row in rows if row.seconds} == {200}


def test_free_memory_respects_the_bounds_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bound, used = tmp_path / "memory.max", tmp_path / "memory.current"
    monkeypatch.setattr(ordeal, "CGROUPS", ((str(bound), str(used)),))
    free = free_memory()
    assert free > 100_000_000
    bound.write_text("max\n")
    used.write_text("60000000\n")
    (tmp_path / "memory.stat").write_text("anon 40000000\ninactive_file 15000000\n")
    assert free_memory() > 100_000_000
    bound.write_text("80000000\n")
    assert free_memory() == 35_000_000


def test_the_matrix_puts_services_side_by_side() -> None:
    naive = [
        Row("control", 200, 200, 0.0412, 0.2, 0.012),
        Row("truncated", 422, 500, 0.0512, 12.4, 0.9),
        Row("thin line", 422, 0, 0.0, 0.0, 0.0, "not sent: it can take 6 GB, and 3.1 GB are free here"),
        Row("empty", 422, 0, 30.0, 1234.5, math.inf, "no answer within 30 s"),
    ]
    yours = [Row(row.name, row.expected, row.expected, 0.01, 1.0, 0.005) for row in naive]
    assert matrix({"naive": naive, "yours": yours}).splitlines() == [
        "           right  | naive      s     MB  /health ms  | yours     s  MB  /health ms",
        "control      200  |  200    0.04      0          12  |  200   0.01   1           5",
        "truncated    422  |  500*   0.05     12         900  |  422   0.01   1           5",
        "thin line    422  | none*      -      -           -  |  422   0.01   1           5",
        "empty        422  | none*  30.00  1,234       never  |  422   0.01   1           5",
        "",
        "*: not the status that a good service answers. MB: memory that the server took. "
        "/health: its slowest answer meanwhile.",
        "naive, thin line: not sent: it can take 6 GB, and 3.1 GB are free here.",
        "naive, empty: no answer within 30 s.",
        "naive: 1 of 4 right; at most 1,234 MB (empty); /health never at its slowest (empty).",
        "yours: 4 of 4 right; at most 1 MB (control); /health within 5 ms at its slowest (control).",
    ]
