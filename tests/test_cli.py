"""The command line: what each command prints, where, and with which exit status."""

import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from labserve import cli, coaching, places, zoo
from labserve.checking import expect
from labserve.journal import Journal
from labserve.probe import Probe
from labserve.workspace import Workspace

from . import tiny as workbook

BIN = [sys.executable, "-m", "labserve.cli"]
START = "from labserve.cli import main; main()"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    def counts(probe: Probe) -> None:
        """counts"""
        outcome = probe.call("first.count", [1, 2])
        expect(outcome.value == 3, sent="count([1, 2])", got=outcome, expected="3")

    workbook.check_with(monkeypatch, {"1.2": [counts]})
    return workbook.make(tmp_path, monkeypatch)


@pytest.fixture
def labserve(monkeypatch: pytest.MonkeyPatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs a command; gives its exit status, and what it wrote to stdout and to stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["labserve", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    return run


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_help_lists_the_commands_and_imports_nothing_heavy() -> None:
    heavy = {"torch", "torchvision", "fastapi", "pydantic", "IPython", "numpy", "PIL", "rich", "matplotlib", "nbformat"}
    code = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print('HEAVY', sorted({heavy!r} & set(sys.modules))))\n"
        f"sys.argv = ['labserve', '--help']\n{START}"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stderr == ""
    *lines, heavies = said.stdout.strip().split("\n")
    assert heavies == "HEAVY []"
    commands = {line.split()[0] for line in lines[lines.index("Commands:") + 1 :]}
    assert {"lab", "serve", "check", "hint", "solution", "reset", "progress", "quiz", "models", "doctor"} <= commands
    assert not any(line.endswith("...") for line in lines[1:]), "a line of the help is cut off"


def test_alone_it_lists_the_commands(labserve: Callable) -> None:
    _, out, err = labserve()
    assert "Commands:" in out + err


def test_check(labserve: Callable, tiny: Workspace) -> None:
    status, out, err = labserve("check", "1.2")
    assert (status, err) == (1, "")
    assert "exercise 1.2 is still a stub" in out
    with tiny.storing("1.2", "def count(numbers): return sum(numbers)"):
        pass
    assert labserve("check", "1.2") == (0, "✓ counts\n1.2 Count: 3 of 3 points\n", "")
    assert Journal(tiny).events("1.2", "check")[-1].detail.startswith("1/1 ")


def test_check_of_a_module_that_was_broken_by_hand(labserve: Callable, tiny: Workspace) -> None:
    tiny.begin(tiny.workbook.chapters[0])
    tiny.path("first").write_text(tiny.path("first").read_text() + "\nthis is no python\n")
    status, out, err = labserve("check", "1.2")
    assert (status, err) == (1, "")
    assert "SyntaxError" in out


def test_check_ends_whatever_an_answer_leaves_behind(space: Workspace) -> None:
    """A thread of a pool that waits for ever: Python would wait for it at its end."""
    answer = (
        "import threading\nfrom concurrent.futures import ThreadPoolExecutor\nfrom fastapi import APIRouter\n"
        "router = APIRouter()\n@router.get('/')\ndef root():\n"
        "    return ThreadPoolExecutor(1).submit(threading.Event().wait).result()\n"
    )
    with space.storing("1.1", answer):
        pass
    quick = (
        "import labserve.checks.hello; from labserve import checking\n"
        f"checking._PARTS['1.1'] = [(part, 0.3) for part, _ in checking._PARTS['1.1']]\n{START}"
    )
    said = subprocess.run([sys.executable, "-c", quick, "check", "1.1"], capture_output=True, text=True, timeout=60)
    assert said.returncode == 1
    assert "no answer in" in said.stdout
    assert "0 of 1 points" in said.stdout


def test_hint_solution_reset_and_progress(labserve: Callable, tiny: Workspace) -> None:
    assert labserve("hint", "1.2") == (0, "Hint 1 of 2 for 1.2: One.\n", "")
    assert labserve("hint", "1.2") == (0, "Hint 2 of 2 for 1.2: Two.\n", "")
    assert "ask solution('1.2') again" in labserve("solution", "1.2")[1]
    assert "return sum(numbers)" in labserve("solution", "1.2")[1]
    with tiny.storing("1.2", "mine = 1"):
        pass
    status, out, err = labserve("reset", "1.2")
    assert (status, err) == (0, "")
    backup = Path(out.strip().rpartition("What you had is in ")[2])
    assert "mine = 1" in (backup / "first.py").read_text()
    status, out, _ = labserve("progress")
    assert status == 0
    assert out.endswith("0 of 6 points from exercises that pass.\n")


@pytest.mark.parametrize("command", ["check", "hint", "solution", "reset"])
@pytest.mark.parametrize("wrong", ["9.9", "1.3", "", "1.1\n1.2", "../x"])
def test_a_wrong_id_is_one_line_on_stderr(labserve: Callable, tiny: Workspace, command: str, wrong: str) -> None:
    status, out, err = labserve(command, wrong)
    assert (status, out) == (1, "")
    assert err.count("\n") == 1
    assert "1.1" in err
    assert not tiny.root.exists()


@pytest.mark.parametrize("command", ["check 1.2", "hint 1.2", "solution 1.2", "reset 1.2", "lab"])
def test_an_unwritable_workspace_is_one_line_on_stderr(
    labserve: Callable, tiny: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LABSERVE_WORKSPACE", str(tmp_path / "file" / "w"))
    status, out, err = labserve(*command.split())
    assert (status, out) == (1, "")
    assert err.count("\n") == 1
    assert "LABSERVE_WORKSPACE" in err


@pytest.mark.parametrize("command", ["check 1.2", "hint 1.2", "solution 1.2", "reset 1.2", "progress", "quiz 1", "lab"])
def test_a_damaged_manifest_is_one_line_on_stderr(labserve: Callable, tiny: Workspace, command: str) -> None:
    places.MANIFEST.write_text(workbook.MANIFEST.replace('title = "First"', "titel = 1"))
    status, out, err = labserve(*command.split())
    assert (status, out) == (1, "")
    assert err == f"{places.MANIFEST}:2: chapter.0.title: Field required\n"


@pytest.mark.parametrize("arguments", ["nosuch", "check", "check 1.2 1.2", "quiz one", "serve --port x", "hint --what"])
def test_wrong_usage_says_how_and_has_a_status_of_its_own(labserve: Callable, tiny: Workspace, arguments: str) -> None:
    status, out, err = labserve(*arguments.split())
    assert (status, out) == (2, "")
    assert err.startswith("Usage: labserve")
    assert "Error: " in err


def test_a_quiz_is_asked_and_only_a_whole_round_is_kept(
    space: Workspace, labserve: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("a\n"))
    status, out, err = labserve("quiz", "1")
    assert (status, err) == (0, "")
    assert "right so far. Only a whole round is kept." in out
    assert Journal(space).events("quiz 1", "quiz") == []
    monkeypatch.setattr(sys, "stdin", io.StringIO("a\n" * 20))
    status, out, err = labserve("quiz", "1")
    assert (status, err) == (0, "")
    (event,) = Journal(space).events("quiz 1", "quiz")
    right, total = event.detail.split("/")
    assert out.endswith(f"\n{right} of {total} right.\n")


def test_a_quiz_that_is_not_there_is_one_line(labserve: Callable, tiny: Workspace) -> None:
    assert labserve("quiz", "7") == (1, "", "There is no chapter 7. Chapters: 1, 2.\n")
    status, out, err = labserve("quiz", "1")
    assert (status, out, err.count("\n")) == (1, "", 1)


def test_models(labserve: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = labserve("models")
    assert status == 0
    assert all(name in out for name in zoo.SPECS)
    status, out, err = labserve("models", "--download", "resnet999")
    assert (status, out) == (1, "")
    assert "resnet999" in err
    assert err.count("\n") == 1


def test_doctor_finds_a_workspace_that_is_in_the_way(
    labserve: Callable, space: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, err = labserve("doctor")
    assert (status, err) == (0, "")
    assert "✗" not in out
    (tmp_path / "file").touch()
    monkeypatch.setenv("LABSERVE_WORKSPACE", str(tmp_path / "file" / "w"))
    status, out, _ = labserve("doctor")
    assert status == 1
    assert "set LABSERVE_WORKSPACE to a folder of yours" in out


def test_a_console_without_a_tick_gets_a_question_mark(tmp_path: Path) -> None:
    env = os.environ | {"PYTHONIOENCODING": "ascii", "LABSERVE_WORKSPACE": str(tmp_path)}
    said = subprocess.run([sys.executable, "-c", START, "check", "1.1"], env=env, capture_output=True, text=True)
    assert said.returncode == 1
    assert said.stderr == ""
    assert said.stdout.startswith("? ")


# Servers


def test_a_taken_port_is_one_line(labserve: Callable, tiny: Workspace, taken: int) -> None:
    for command, listed in (("serve", False), ("lab", True)):
        status, out, err = labserve(command, "--port", str(taken))
        assert (status, out) == (1, "")
        assert err == (
            f"Port {taken} on 127.0.0.1 cannot be had (Address already in use). "
            f"Try: labserve {command} --port {taken + 1}\n"
        )
        assert (tiny.root / "01_first.ipynb").exists() is listed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("serve --port 70000", "There is no port 70000: the last is 65535. Try: labserve serve --port 8000\n"),
        ("serve --port=-1", "There is no port -1: the last is 65535. Try: labserve serve --port 8000\n"),
        ("lab --port 70000", "There is no port 70000: the last is 65535. Try: labserve lab --port 8000\n"),
        (
            "lab --port=-1 nosuch.ipynb",
            "There is no notebook 'nosuch.ipynb'. Notebooks: 01_first.ipynb, 02_second.ipynb.\n",
        ),
        ("lab my_service", "There is no notebook 'my_service'. Notebooks: 01_first.ipynb, 02_second.ipynb.\n"),
        (
            "serve --host 192.0.2.1",
            "This machine has no address 192.0.2.1 (Cannot assign requested address). Try: 127.0.0.1\n",
        ),
    ],
)
def test_what_cannot_be_served_is_one_line(labserve: Callable, tiny: Workspace, arguments: str, message: str) -> None:
    assert labserve(*arguments.split()) == (1, "", message)


@pytest.mark.parametrize(("name", "value"), [("PRECISION", "fp7"), ("DEVICE", "abacus"), ("DEVICE", "meta:x")])
def test_a_wrong_setting_is_one_line(
    labserve: Callable, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"LABSERVE_{name}", value)
    status, out, err = labserve("serve", "--port", str(free_port()))
    assert (status, out) == (1, "")
    assert err.startswith(f"LABSERVE_{name}: ")
    assert value in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("how", ["option", "variable"])
def test_an_unknown_model_is_one_line(labserve: Callable, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    port = ["--port", str(free_port())]
    if how == "variable":
        monkeypatch.setenv("LABSERVE_MODEL", "resnet999")
    status, out, err = labserve("serve", *port, *(["--model", "resnet999"] if how == "option" else []))
    assert (status, out) == (1, "")
    assert err.count("\n") == 1
    assert "resnet999" in err
    assert "efficientnet_lite0" in err


class Served:
    """A command that serves, in a process of its own."""

    def __init__(self, *arguments: str, env: dict[str, str], until: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, *arguments],
            env=os.environ | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout
        self.said = ""
        for line in self.process.stdout:
            self.said += line
            if until in line:
                return
        raise AssertionError(f"it ended with {self.process.wait()}: {self.said}")

    def stop(self) -> int:
        """Its exit status after SIGTERM."""
        self.process.terminate()
        self.said += self.process.communicate(timeout=30)[0]
        return self.process.returncode


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    running: list[Served] = []

    def start(*arguments: str, until: str, **env: str) -> Served:
        running.append(Served(*arguments, env={"LABSERVE_WORKSPACE": str(tmp_path / "workspace"), **env}, until=until))
        return running[-1]

    yield start
    for served in running:
        if served.process.poll() is None:
            served.process.kill()
            served.process.communicate()


def test_the_service_serves_until_it_is_told_to_stop(serve: Callable[..., Served]) -> None:
    port = free_port()
    served = serve("serve", "--port", str(port), until="Uvicorn running on")
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        health = client.get("/health").json()
        assert (health["status"], health["model_loaded"], health["model"]) == ("healthy", True, "efficientnet_lite0")
        assert {model["name"] for model in client.get("/models").json()["models"]} == set(zoo.SPECS)
    assert served.stop() in (0, -signal.SIGTERM)
    assert "Application shutdown complete" in served.said
    assert "Traceback" not in served.said


def test_mine_serves_what_passes_and_says_so(serve: Callable[..., Served], space: Workspace) -> None:
    """Chapter 1 is the student's and passes; in chapter 2 only a stub was stored."""
    first, second = space.workbook.chapters[:2]
    for exercise in first.exercises:
        with space.storing(exercise.id, coaching.reference_answer(space, exercise).replace('"labserve"', '"mine"')):
            pass
        Journal(space).record_check(exercise.id, 1, 1)
    space.begin(second)
    port = free_port()
    served = serve(
        "serve", "--mine", "--port", str(port), until="Uvicorn running on", LABSERVE_WORKSPACE=str(space.root)
    )
    assert "Modules: hello yours, validation reference, " in served.said
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        assert client.get("/").json()["service"] == "mine"
        assert client.get("/health").json()["model_loaded"] is True
    assert served.stop() in (0, -signal.SIGTERM)


def test_lab_opens_the_next_notebook_of_a_copy_and_stops(serve: Callable[..., Served], tmp_path: Path) -> None:
    port = free_port()
    home = str(tmp_path / "home")
    served = serve("lab", "--port", str(port), until="/lab/tree/", HOME=home, DISPLAY="", WAYLAND_DISPLAY="")
    assert f"Your notebooks are in {tmp_path / 'workspace'}. Opening 01_" in served.said
    assert "open the URL" in served.said
    assert any((tmp_path / "workspace").glob("01_*.ipynb"))
    assert served.stop() in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
