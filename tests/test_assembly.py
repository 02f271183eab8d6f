"""How chapters' modules become one app. Whose module stands where is tested with the workspace and the checks."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from labserve import assembly, places
from labserve.workspace import Workspace

from . import tiny

SECOND = '''"""The second chapter: it answers /whose too, and watches the lifespan of the first."""

from contextlib import asynccontextmanager

from fastapi import APIRouter


# exercise 2.1
@asynccontextmanager
async def lifespan(app):
    app.state.events.append("second starts")
    yield
    app.state.events.append("second ends")


router = APIRouter(lifespan=lifespan)


@router.get("/whose")
def whose() -> str:
    return "second"


@router.post("/whose")
def post_whose() -> str:
    return "posted"


def install(app):
    app.state.events = []
    app.state.installed = [*getattr(app.state, "installed", []), "second"]


def shout(name: str) -> str:
    return name
'''


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    made = tiny.make(tmp_path, monkeypatch)
    (places.REFERENCE / "second.py").write_text(SECOND)
    return made


def test_a_later_chapter_s_route_takes_the_place_of_an_earlier_one_s(space: Workspace) -> None:
    with TestClient(assembly.service(space, "first")) as client:
        assert client.get("/whose").json() == "reference"
        assert client.post("/whose").status_code == 405
    app = assembly.service(space, "second")
    with TestClient(app) as client:
        assert client.get("/whose").json() == "second"
        assert client.post("/whose").json() == "posted"
    assert [operation["summary"] for operation in app.openapi()["paths"]["/whose"].values()] == ["Whose", "Post Whose"]


def test_what_a_module_brings_besides_routes_is_installed_and_its_lifespan_entered(space: Workspace) -> None:
    app = assembly.service(space, "second")
    assert app.state.installed == ["second"]
    with TestClient(app):
        assert app.state.events == ["second starts"]
    assert app.state.events == ["second starts", "second ends"]


def test_the_modules_themselves_are_not_changed(space: Workspace) -> None:
    assembly.service(space, "second")
    with TestClient(assembly.service(space, "first")) as client:
        assert client.get("/whose").json() == "reference"
