"""What a notebook sees, in a real IPython shell."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from labserve import sections
from labserve.checking import expect
from labserve.extension import CheckFailed
from labserve.probe import Probe, Request
from labserve.workspace import Workspace

from . import tiny as workbook


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    return workbook.make(tmp_path, monkeypatch)


class Notebook:
    """Runs cells, and tells what each printed."""

    def __init__(self, shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
        self.shell = shell
        self.capsys = capsys

    def __call__(self, cell: str) -> str:
        """What a cell prints that is to work."""
        result = self.shell.run_cell(cell)
        shown = self._shown()
        assert result.success, shown
        return shown

    def fails(self, cell: str) -> str:
        """What a cell shows that is not to work, without a traceback."""
        result = self.shell.run_cell(cell)
        shown = self._shown()
        assert not result.success, shown
        assert "Traceback" not in shown
        return shown.rstrip("\n")

    def _shown(self) -> str:
        out, err = self.capsys.readouterr()
        return re.sub(r"\x1b\[[0-9;]*m", "", out + err)


@pytest.fixture
def bare(tiny: Workspace, capsys: pytest.CaptureFixture[str]) -> Iterator[Notebook]:
    config = Config()
    config.HistoryManager.enabled = False
    modules = dict(sys.modules)
    shell = InteractiveShell.instance(config=config)
    yield Notebook(shell, capsys)
    shell.reset()
    InteractiveShell.clear_instance()
    sys.modules["__main__"] = modules["__main__"]


@pytest.fixture
def run(bare: Notebook) -> Notebook:
    bare("%load_ext labserve\nfrom labserve import check, hint, progress, reset, service, solution")
    return bare


def greets(probe: Probe) -> None:
    """greets by name"""
    outcome = probe.call("first.greet", "Ada")
    expect(outcome.value == "hello Ada", sent="greet('Ada')", got=outcome, expected="'hello Ada'", cause="a typo")


def shouts(probe: Probe) -> None:
    """shouts"""
    outcome = probe.call("second.shout", "Ada")
    expect(outcome.value == "HELLO ADA", sent="shout('Ada')", got=outcome, expected="'HELLO ADA'")


def is_routed(probe: Probe) -> None:
    """answers a request"""
    reply = probe.send(Request("GET", "/openapi.json"))
    expect(reply.status == 200, sent="a request", got=reply, expected="200")


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Callable]]:
    parts = {"1.1": [greets, is_routed], "1.2": [is_routed], "2.1": [shouts]}
    workbook.check_with(monkeypatch, parts)
    return parts


def test_loading_says_where_the_work_is_kept(bare: Notebook, tiny: Workspace) -> None:
    assert bare("%load_ext labserve") == f"labserve is ready. What you write is kept in {tiny.package}\n"
    assert "already loaded" in bare("%load_ext labserve")
    assert "labserve is ready" in bare("%reload_ext labserve")


def test_a_cell_is_stored_and_its_names_are_there(run: Notebook, tiny: Workspace) -> None:
    assert run("%%exercise 1.1\nimport json\n\n_hidden = 1\n\ndef greet(name):\n    return f'hello {name}'\n") == (
        "1.1 is stored in my_service/first.py\n"
    )
    assert run("print(greet('Ada'), greet.__module__, json.__name__)") == "hello Ada my_service.first json\n"
    assert "NameError" in run.shell.run_cell("_hidden").error_in_exec.__class__.__name__
    run._shown()
    assert "def greet(name):\n    return" in sections.split(tiny.path("first").read_text())[1]["1.1"]
    run("%%exercise 1.1  \ndef greet(name):\n    return 'bye'\n")
    assert run("print(greet('Ada'))") == "bye\n"


def test_the_names_of_the_other_sections_are_there_too(run: Notebook) -> None:
    run("%%exercise 1.2\ndef count(numbers):\n    return greet\n")
    assert run("print(count([]) is greet, router.routes)") == "True []\n"


@pytest.mark.parametrize(
    ("magic", "message"),
    [
        ("%%exercise 9.9", "There is no exercise '9.9'. Did you mean one of 1.1, 1.2, 2.1?"),
        ("%%exercise 1.3", "There is no exercise '1.3'. Did you mean one of 1.1, 1.2?"),
        ("%%exercise", "Name an exercise, such as 1.1. There are 1.1, 1.2, 2.1."),
        ("%%exercise 1.1 1.2", "There is no exercise '1.1 1.2'. Did you mean one of 1.1, 1.2?"),
    ],
)
def test_a_wrong_id_is_one_line(run: Notebook, tiny: Workspace, magic: str, message: str) -> None:
    assert run.fails(f"{magic}\na = 1\n") == message
    assert not tiny.path("first").exists()


NOT_STORED = "1.1 was not stored, your module is as it was. "
BAD = [
    ("a = 1\nb = (\n", "Line 3 of the cell: '(' was never closed\n    b = ("),
    ("a = 1\nb = a / 0\n", "Line 3 of the cell: ZeroDivisionError: division by zero\n    b = a / 0"),
    ("\n\na = 1\nb = a / 0\n", "Line 5 of the cell: ZeroDivisionError: division by zero\n    b = a / 0"),
    (
        "def f():\n    return nothing\n\nf()\n",
        "Line 3 of the cell: NameError: name 'nothing' is not defined\n    return nothing",
    ),
    (
        "import nothing_of_this_name\n",
        "Line 2 of the cell: ModuleNotFoundError: No module named 'nothing_of_this_name'",
    ),
    ("from .first import nothing\n", "Line 2 of the cell: ImportError: cannot import name 'nothing'"),
    ("import sys\nsys.exit(3)\n", "Line 3 of the cell: SystemExit: 3\n    sys.exit(3)"),
    ("raise KeyboardInterrupt\n", "Line 2 of the cell: KeyboardInterrupt\n    raise KeyboardInterrupt"),
    ("# exercise 1.1\na = 1", "Remove line 2 of the cell, '# exercise 1.1'"),
    ("!pip install x", "Line 2 of the cell: invalid syntax. Lines for the notebook"),
    ("def count(: pass", "Line 2 of the cell: "),
]


@pytest.mark.parametrize(("cell", "message"), BAD)
def test_a_cell_that_cannot_be_loaded_names_its_line_and_changes_nothing(
    run: Notebook, tiny: Workspace, cell: str, message: str
) -> None:
    run("%%exercise 1.1\na = 'before'\n")
    before = tiny.path("first").read_bytes()
    shown = run.fails(f"%%exercise 1.1\n{cell}")
    assert shown.startswith(NOT_STORED + message)
    assert tiny.path("first").read_bytes() == before
    assert run("print(a)") == "before\n"
    run("%%exercise 1.1\na = 'after'\n")
    assert run("print(a)") == "after\n"


def test_a_future_import_that_comes_too_late_is_named(run: Notebook, tiny: Workspace) -> None:
    run("%%exercise 1.1\nfrom __future__ import annotations\na: nothing = 1\n")
    shown = run.fails("%%exercise 1.2\nfrom __future__ import annotations\nb = 1\n")
    assert "Line 2 of the cell: SyntaxError: from __future__ imports must occur at the beginning" in shown


def test_a_fault_in_another_section_is_named_there(run: Notebook, tiny: Workspace) -> None:
    run("%%exercise 1.1\na = 1\n")
    path = tiny.path("first")
    path.write_text(path.read_text().replace("a = 1", "\na = 1 / 0"))
    before = path.read_bytes()
    shown = run.fails("%%exercise 1.2\nb = 1\n")
    assert shown == (
        "1.2 was not stored, your module is as it was. "
        "Line 1 of 1.1 in first.py: ZeroDivisionError: division by zero\n    a = 1 / 0"
    )
    assert path.read_bytes() == before
    path.write_text("import nothing_of_this_name\n" + path.read_text().replace("1 / 0", "1"))
    assert "Line 1 of the head in first.py: ModuleNotFoundError" in run.fails("%%exercise 1.2\nb = 1\n")


def test_a_cell_without_an_answer(run: Notebook, tiny: Workspace) -> None:
    assert "the cell body is empty" in run.fails("%%exercise 1.1\n"), "IPython says so itself"
    run("%%exercise 1.1\n# nothing yet")
    assert sections.split(tiny.path("first").read_text())[1]["1.1"] == "# nothing yet"


def test_check_prints_a_line_for_each_thing_and_fails_as_a_cell(run: Notebook, checks: object) -> None:
    shown = re.sub(r"\n {18}", " ", run.fails("check('1.1')"))  # a long line is folded
    assert shown.split("\n") == [
        "✗ greets by name",
        "    sent:         greet('Ada')",
        "    got:          NotImplementedError: exercise 1.1 "
        '(first.py, line 12: raise NotImplementedError("exercise 1.1"))',
        "    expected:     'hello Ada'",
        "    likely cause: exercise 1.1 is still a stub: write it, run its cell, and check again",
        "✓ answers a request",
        "1.1 Greet: 0 of 1 points. It is still the stub: write it, run its cell, and check again.",
    ]
    assert isinstance(run.shell.run_cell("check('1.1')").error_in_exec, CheckFailed)
    run._shown()
    run("%%exercise 1.1\ndef greet(name):\n    return f'hello {name}'\n")
    assert run("check('1.1')") == "✓ greets by name\n✓ answers a request\n1.1 Greet: 1 of 1 points\n"


def test_checking_what_was_never_run_checks_the_stub_not_the_reference(run: Notebook, checks: object) -> None:
    """Nothing is stored for chapter 2, where the reference stands in, and would pass."""
    assert "is still a stub" in run.fails("check('2.1')")
    assert "✗ 2.1 Build on the first (2 points): not passed yet" in run("progress()")


def test_a_number_is_taken_for_an_id(run: Notebook, checks: object) -> None:
    run("%%exercise 1.2\ndef count(numbers):\n    return sum(numbers)\n")
    run("check(1.2)")
    run("reset(1.2)")
    assert "Hint 1 of 3 for 1.1" in run("hint(1.1)")


@pytest.mark.parametrize(
    "call", ["check('9.9')", "hint('9.9')", "solution('9.9')", "reset('9.9')", "service(7)", "check('')"]
)
def test_a_wrong_id_to_any_function_is_one_line(run: Notebook, checks: object, call: str) -> None:
    shown = run.fails(call)
    assert "\n" not in shown
    assert shown.startswith(("There is no ", "Name an exercise"))


def test_hints_come_one_at_a_time_and_start_over(run: Notebook) -> None:
    assert [run("hint('1.1')") for _ in range(4)] == [
        "Hint 1 of 3 for 1.1: Look at 1.2.\n",
        "Hint 2 of 3 for 1.1: Look again.\n",
        "Hint 3 of 3 for 1.1: Return it.\n",
        "Hint 1 of 3 for 1.1: Look at 1.2.\n",
    ]


def test_the_solution_comes_at_the_second_asking(run: Notebook) -> None:
    assert "ask solution('1.2') again" in run("solution('1.2')")
    shown = run("solution('1.2')")
    assert "return sum(numbers)" in shown
    assert "--- yours\n+++ reference" in shown


def test_reset_brings_the_stub_back_into_a_cell(run: Notebook, tiny: Workspace) -> None:
    run("%%exercise 1.1\ndef greet(name): return 1\n")
    assert "1.1 is the stub again. What you had is in " in run("reset('1.1')")
    assert tiny.section("1.1") == tiny.stub("1.1")
    assert run.shell.rl_next_input == f"%%exercise 1.1\n{tiny.stub('1.1')}"


def test_progress_shows_where_one_stands(run: Notebook, checks: object) -> None:
    run("%%exercise 1.2\ndef count(numbers):\n    return sum(numbers)\n")
    run("check('1.2')")
    assert "✓ 1.2 Count (3 points): passed" in run("progress()")


def test_the_service_says_whose_modules_it_is_made_of(run: Notebook, checks: object) -> None:
    assert run("app = service(2)") == "Modules: first reference, second reference\n"
    run("%%exercise 1.1\ndef greet(name): return name\n")
    assert run("app = service(1, model='large')") == "Modules: first yours\n"
    assert run("print(app.state.settings.model)") == "large\n"
    assert run("app = service(2)") == "Modules: first yours, second reference\n"


def test_the_service_is_imported_directly_before_and_after_an_edit(run: Notebook) -> None:
    assert run("from my_service.first import greet\nprint(greet('a'))") == "hello a\n"
    run("%%exercise 1.1\ndef greet(name):\n    return f'hi {name}'\n")
    assert run("from my_service.first import greet\nprint(greet('a'))") == "hi a\n"
    assert run("from my_service.second import shout\nprint(shout('a'))") == "HI A\n"


def test_a_cell_may_change_folder_environment_and_path(
    run: Notebook, checks: object, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(
        "%%exercise 1.1\nimport os, sys\nos.chdir('/')\nos.environ['LABSERVE_WORKING'] = ''\nsys.path.pop(0)\n"
        "def greet(name):\n    return f'hello {name}'\n"
    )
    run("check('1.1')")
    assert run("from my_service.first import greet\nprint(greet('a'))") == "hello a\n"


def test_a_damaged_manifest_and_an_unwritable_workspace_are_one_line(
    bare: Notebook, tiny: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare("from labserve import check")
    (tmp_path / "file").touch()
    monkeypatch.setenv("LABSERVE_WORKSPACE", str(tmp_path / "file" / "w"))
    assert "cannot be written" in bare.fails("%load_ext labserve")
    assert "cannot be written" in bare.fails("%%exercise 1.1\na = 1\n")
    assert "cannot be written" in bare.fails("check('1.1')")
    (tmp_path / "notebooks/workbook.toml").write_text("[")
    assert "workbook.toml:1: not valid TOML" in bare.fails("check('1.1')")


def test_outside_a_notebook_the_functions_work_too(tiny: Workspace, checks: object, capsys) -> None:
    import labserve

    with pytest.raises(CheckFailed):
        labserve.check("1.1")
    labserve.reset("1.1")
    labserve.progress()
    assert "1.1 is the stub again" in capsys.readouterr().out
