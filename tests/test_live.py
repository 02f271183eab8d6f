"""`live()`: a real server, in a real child process, ready before use and gone afterwards."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from labserve import serving
from labserve.errors import LabserveError
from labserve.serving import ServerDidNotStart, live


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.ready = True
    yield
    print("the app has shut down")


app = FastAPIOffline(lifespan=lifespan)


@app.get("/health")
def health() -> dict[str, object]:
    print("health was asked for")
    return {"ready": app.state.ready, "pid": os.getpid(), "name": os.environ.get("LABSERVE_NAME")}


@app.get("/broken")
async def broken() -> float:
    return 1 / 0


@app.get("/stuck")
async def stuck() -> None:
    time.sleep(3600)


def accepts(url: str) -> bool:
    address = httpx2.URL(url)
    with contextlib.closing(socket.socket()) as probe:
        return probe.connect_ex((address.host, address.port)) == 0


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # succeeds for a zombie too
    except ProcessLookupError:
        return False
    return True


def test_an_app_of_a_module_answers_and_leaves_nothing_behind(capfd: pytest.CaptureFixture[str]) -> None:
    server = live(app, env={"LABSERVE_NAME": "Ada"})
    with server as client:
        answer = client.get("/health").json()
        assert client.get("/docs").status_code == 200
        url = server.url
    assert answer == {"ready": True, "pid": answer["pid"], "name": "Ada"}
    assert answer["pid"] != os.getpid()
    assert not is_alive(answer["pid"])
    assert not accepts(url)
    for line in ("health was asked for", '"GET /health HTTP/1.1" 200 OK', "the app has shut down"):
        assert line in server.logs
    assert capfd.readouterr() == ("", "")


def test_the_pid_is_that_of_the_process_that_serves() -> None:
    server = live(app)
    with server as client:
        assert server.pid == client.get("/health").json()["pid"]
    with pytest.raises(LabserveError, match=r"call start\(\) first"):
        _ = server.pid


def test_a_started_server_may_be_entered_stopped_twice_and_started_again() -> None:
    server = live(app).start()
    url = server.url
    with server as client:
        assert client is server.client
        assert client.get("/health").status_code == 200
    server.stop()
    assert not accepts(url)
    with pytest.raises(LabserveError, match=r"call start\(\) first"):
        _ = server.url
    with server as client:
        assert client.get("/health").status_code == 200


NOTEBOOK = """
from __future__ import annotations
import asyncio, functools, threading
from typing import Annotated
from fastapi import Depends, FastAPI, Query
from pydantic import BaseModel, field_validator
from labserve.serving import live
from my_service.names import router

class Wish(BaseModel):
    name: str
    @field_validator("name")
    @classmethod
    def shout(cls, name: str) -> str:
        return name.upper()

@functools.lru_cache
def settings() -> dict[str, str]:
    return {"model": "small"}

lock = threading.Lock()
app = FastAPI()

@router.post("/wish", response_model=Wish)
def wish(wish: Wish, chosen: Annotated[dict, Depends(settings)], times: Annotated[int, Query(ge=1)] = 1):
    with lock:
        return {"name": wish.name * times + chosen["model"]}

app.include_router(router)

async def cell():
    with live(app) as client:
        assert client.get("/names").json() == ["Ada"]
        assert client.post("/wish", json={"name": "cat"}).json() == {"name": "CATSMALL"}
        assert client.post("/wish?times=0", json={"name": "cat"}).status_code == 422
        print("answered")

asyncio.run(cell())  # a notebook's cells run while an event loop does
"""


def test_an_app_of_a_notebook_travels_with_its_models_and_with_packages_beside_it(tmp_path: Path) -> None:
    (tmp_path / "my_service").mkdir()
    (tmp_path / "my_service" / "names.py").write_text(
        "from fastapi import APIRouter\nrouter = APIRouter()\nrouter.get('/names')(lambda: ['Ada'])\n"
    )
    (tmp_path / "notebook.py").write_text(NOTEBOOK)
    done = subprocess.run([sys.executable, tmp_path / "notebook.py"], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("answered\n", "")


def test_an_import_string_and_a_factory_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "by_name.py").write_text(
        "from fastapi import FastAPI\n"
        "def create_app():\n    app = FastAPI()\n    app.get('/')(lambda: 'hello')\n    return app\n"
        "app = create_app()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with live("by_name:app") as one, live("by_name:create_app", factory=True) as other:
        assert one.get("/").json() == other.get("/").json() == "hello"
        assert one.base_url != other.base_url


FAILURES = {
    "import os, missing_package": "No module named 'missing_package'",
    "app = 1 / 0": "ZeroDivisionError: division by zero",
    "import os; os._exit(7)": "ended before it was ready, with status 7",
    """
    from contextlib import asynccontextmanager
    from fastapi import FastAPI
    @asynccontextmanager
    async def lifespan(app):
        raise OSError("no weights")
        yield
    app = FastAPI(lifespan=lifespan)
    """: "OSError: no weights",
}


@pytest.mark.parametrize("source", FAILURES, ids=["import", "module", "crash", "lifespan"])
def test_a_start_that_fails_says_why(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "failing.py").write_text(textwrap.dedent(source))
    monkeypatch.syspath_prepend(tmp_path)
    server = live("failing:app")
    with pytest.raises(ServerDidNotStart) as caught:
        server.start()
    assert FAILURES[source] in str(caught.value)
    assert "Fatal Python error" not in server.logs
    server.stop()


async def never_ready(scope: object, receive: object, send: object) -> None:
    await asyncio.Event().wait()


def test_a_start_that_takes_too_long_is_given_up() -> None:
    with pytest.raises(ServerDidNotStart, match=r"was not ready within 0\.1 s"):
        live(never_ready, timeout=0.1).start()


def test_an_app_that_cannot_travel_is_named_with_the_remedy() -> None:
    app = FastAPI()
    app.state.open_file = (line for line in "a generator, as an open file, cannot be copied")
    with pytest.raises(ServerDidNotStart, match=r"'generator' object\): put it in a module and give"):
        live(app).start()


def test_an_error_in_the_body_shows_the_servers_log(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(httpx2.HTTPStatusError), live(app) as client:
        client.get("/broken").raise_for_status()
    shown = capsys.readouterr().err
    assert shown.startswith("The server's log ends:\n")
    assert "ZeroDivisionError: division by zero" in shown


def test_a_server_that_will_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "GRACE", 0.0)
    server = live(app).start()
    pid, url = server.client.get("/health").json()["pid"], server.url
    with pytest.raises(httpx2.ReadTimeout):
        server.client.get("/stuck", timeout=0.2)
    server.stop()
    assert not is_alive(pid)
    assert not accepts(url)


def test_a_server_that_nothing_refers_to_stops() -> None:
    server = live(app).start()
    pid = server.client.get("/health").json()["pid"]
    del server
    gc.collect()
    assert not is_alive(pid)


PARENT = """
import contextlib, os, sys
import httpx2
from labserve.serving import live

server = live("test_live:app").start()
print(server.url, flush=True)
if "hang" in sys.argv:
    with contextlib.suppress(httpx2.ReadTimeout):
        server.client.get("/stuck", timeout=0.2)
if "die" in sys.argv:
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("ending", [[], ["die"], ["hang", "die"]], ids=" and ".join)
def test_a_server_ends_with_its_parent(ending: list[str]) -> None:
    command = [sys.executable, "-c", PARENT, *ending]
    done = subprocess.run(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True)
    assert done.returncode == (-signal.SIGKILL if ending else 0)
    deadline = time.monotonic() + 20
    while accepts(done.stdout.strip()):
        assert time.monotonic() < deadline, "the server has outlived its parent"
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_no_file_stays_open() -> None:
    def open_files() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    server = live(app).start()
    server.client.get("/health")
    server.stop()
    assert open_files() == before


def test_show_gives_a_page_in_a_notebook_and_an_address_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import IPython.display

    shown: list[IPython.display.IFrame] = []
    monkeypatch.setattr(IPython.display, "display", shown.append)
    server = live(app)
    with server:
        server.show("/redoc")
        assert capsys.readouterr().out == f"{server.url}/redoc\n"
        monkeypatch.setattr(IPython, "get_ipython", lambda: type("Shell", (), {"kernel": object()}))
        server.show(height=300)
        assert (shown[0].src, shown[0].height) == (f"{server.url}/docs", 300)
