"""The student's folder: what is stored, what is left alone, and which module stands behind `my_service`."""

import importlib
import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from labserve import assembly, notebooks, places, sections, workspace
from labserve.errors import LabserveError
from labserve.journal import Journal
from labserve.workspace import Workspace

from . import tiny as workbook


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    return workbook.make(tmp_path, monkeypatch)


def store(space: Workspace, id_: str, text: str) -> None:
    with space.storing(id_, text):
        pass


def refused(space: Workspace, id_: str, text: str) -> str:
    """The message with which a cell is refused; the module must not change by a byte."""
    path = space.path("first")
    before = path.read_bytes() if path.exists() else None
    files = sorted(space.root.rglob("*"))
    with pytest.raises(LabserveError) as raised:
        store(space, id_, text)
    assert (path.read_bytes() if path.exists() else None) == before
    assert sorted(space.root.rglob("*")) == files
    assert "was not stored, your module is as it was" in str(raised.value)
    return str(raised.value)


# Storing


def test_nothing_is_written_before_it_is_needed(tiny: Workspace) -> None:
    assert not tiny.root.exists()
    assert tiny.section("1.1") == tiny.stub("1.1")
    assert [str(choice) for choice in assembly.choices(tiny)] == [
        "first reference",
        "second reference",
        "settings reference",
    ]
    assert not tiny.root.exists()


def test_the_first_cell_makes_the_module_with_stubs_for_the_rest(tiny: Workspace) -> None:
    store(tiny, "1.2", "def count(numbers): return 3")
    assert tiny.path("first").read_text() == (
        '"""Chapter 1, written in 01_first.ipynb: one section an exercise."""\n\n\n'
        f"# exercise 1.1\n{workbook.STUBS['1.1']}\n\n\n# exercise 1.2\ndef count(numbers): return 3\n"
    )
    assert not tiny.path("second").exists()
    assert sorted(path.name for path in tiny.package.iterdir()) == ["__init__.py", "first.py"]


def test_cells_run_in_any_order_and_again_give_the_same_module(tiny: Workspace) -> None:
    store(tiny, "1.2", "b = 1")
    store(tiny, "1.1", "a = 1")
    store(tiny, "1.2", "b = 2")
    text = tiny.path("first").read_text()
    store(tiny, "1.1", "a = 1")
    assert tiny.path("first").read_text() == text
    assert sections.split(text)[1] == {"1.1": "a = 1", "1.2": "b = 2"}


def test_what_a_student_wrote_into_the_file_stays(tiny: Workspace) -> None:
    store(tiny, "1.1", "a = 1")
    path = tiny.path("first")
    path.write_text('"""Mine."""\n\nimport os\n\n# exercise 1.2\nb = 1\n\n# exercise 9.9\nz = 1\n')
    tiny.begin(tiny.workbook.chapters[0])
    assert sections.split(path.read_text())[1] == {"1.1": tiny.stub("1.1"), "1.2": "b = 1", "9.9": "z = 1"}
    store(tiny, "1.1", "a = 2")
    assert path.read_text().startswith('"""Mine."""\n\nimport os\n')
    assert sections.split(path.read_text())[1] == {"1.1": "a = 2", "1.2": "b = 1", "9.9": "z = 1"}


def test_beginning_leaves_a_whole_module_alone_to_the_byte(tiny: Workspace) -> None:
    path = tiny.begin(tiny.workbook.chapters[0])
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n") + b"\n\n")
    before = path.read_bytes()
    tiny.begin(tiny.workbook.chapters[0])
    assert path.read_bytes() == before


SYNTAX = [
    ("a = 1\nb = (\n", 3),
    ("a = 1\n!pip install torch", 3),
    ("%time a = 1", 2),
    ("\n\n%matplotlib inline", 4),
    ("a = !ls", 2),
    ("def f():\nreturn 1", 3),
    ("a = 1\n\nreturn a", 4),
    ("a = 1\nawait a", 3),
    ("  a = 1", 2),
    ("if True:\n\ta = 1\n        b = 2", 4),
    ('"""open', 2),
    ("a = 1 \\\n", 2),
    ("def f():", 2),
    ("if True:\n", 2),
    ("a = 1\r\nb = = 2\r\n", 3),
    ("for a in b:\n    pass\nbreak", 4),
    ("a = 1\nfrom __future__ import annotations", 3),
]


@pytest.mark.parametrize(("text", "line"), SYNTAX)
@pytest.mark.parametrize("begun", [True, False])
def test_a_cell_that_does_not_compile_changes_nothing(tiny: Workspace, text: str, line: int, begun: bool) -> None:
    tiny.root.mkdir()
    if begun:
        path = tiny.begin(tiny.workbook.chapters[0])
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n") + b"\n\n\n")
    message = refused(tiny, "1.1", text)
    assert f"1.1 was not stored, your module is as it was. Line {line} of the cell: " in message
    assert message.endswith(text.replace("\r", "").split("\n")[line - 2].strip())


def test_a_magic_line_is_named_for_what_it_is(tiny: Workspace) -> None:
    tiny.root.mkdir()
    assert "with ! or %, belong in a cell of their own" in refused(tiny, "1.1", "!pip install torch")


@pytest.mark.parametrize("text", ["a = '\x00'", "-" * 200_000 + "1", "a = '\ud800'", "(" * 300 + ")" * 300])
def test_a_cell_that_python_cannot_read_changes_nothing(tiny: Workspace, text: str) -> None:
    tiny.root.mkdir()
    refused(tiny, "1.1", text)


@pytest.mark.parametrize(
    "text", ["# exercise 1.1\na = 1", "a = 1\n# exercise 1.2  \nb = 1", "x = '''\n# exercise 1.1\n'''"]
)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_cell_with_a_mark_of_its_own_is_refused(tiny: Workspace, text: str, newline: str) -> None:
    tiny.root.mkdir()
    line = next(number for number, line in enumerate(text.split("\n"), 2) if line.startswith("# exercise"))
    assert f"Remove line {line} of the cell, '# exercise" in refused(tiny, "1.1", text.replace("\n", newline))


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("", ""),
        ("# only a comment", "# only a comment"),
        ("\n\na = 1\n\n\n", "a = 1"),
        ("a = 1\r\nb = 2\r\n", "a = 1\nb = 2"),
        ("a = 1\rb = 2", "a = 1\nb = 2"),
        ("\ufeffa = 1", "a = 1"),
        ("if True:\n\ta = 1   \n", "if True:\n\ta = 1   "),
        ("ä = 'ж\u2028'", "ä = 'ж\u2028'"),
        ("__all__ = ['a']\na = 1\n_b = 2", "__all__ = ['a']\na = 1\n_b = 2"),
        ("#" * 1_000_000, "#" * 1_000_000),
    ],
    ids=lambda text: repr(text)[:20],
)
def test_odd_cells_are_stored_and_load(tiny: Workspace, text: str, stored: str) -> None:
    assembly.work_on(tiny, "first")
    store(tiny, "1.1", text)
    head, found = sections.split(tiny.path("first").read_bytes().decode())
    assert found == {"1.1": stored, "1.2": tiny.stub("1.2")}
    assert head.startswith('"""')
    module = assembly.load(tiny, "first")
    assert module.count.__name__ == "count"


def test_a_cell_that_warns_warns_once_and_where_it_is_loaded(tiny: Workspace, recwarn) -> None:
    store(tiny, "1.1", 'a = "\\d"')
    assert len(recwarn) == 0


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_module_that_does_not_load_is_as_it_was_to_the_byte(tiny: Workspace, error: type[BaseException]) -> None:
    path = tiny.begin(tiny.workbook.chapters[0])
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n") + b"\n# end \t")
    before = path.read_bytes()
    with pytest.raises(error), tiny.storing("1.1", "a = 1"):
        assert b"a = 1" in path.read_bytes()
        raise error
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in tiny.package.iterdir()) == ["__init__.py", "first.py"]


def test_a_first_cell_that_does_not_load_leaves_the_stubs(tiny: Workspace) -> None:
    with pytest.raises(ValueError, match="bad"), tiny.storing("1.1", "a = 1"):
        raise ValueError("bad")
    assert sections.split(tiny.path("first").read_text())[1] == {"1.1": tiny.stub("1.1"), "1.2": tiny.stub("1.2")}


def test_undoing_keeps_what_another_notebook_has_stored_since(tiny: Workspace) -> None:
    store(tiny, "1.1", "a = 1")
    other = Workspace(tiny.root, tiny.workbook)
    with pytest.raises(ValueError, match="bad"), tiny.storing("1.1", "a = 2"):
        store(other, "1.2", "b = 2")
        raise ValueError("bad")
    assert sections.split(tiny.path("first").read_text())[1] == {"1.1": "a = 1", "1.2": "b = 2"}


def test_two_kernels_write_the_same_module_and_neither_breaks(tiny: Workspace) -> None:
    tiny.begin(tiny.workbook.chapters[0])
    code = (
        "import sys; from labserve import manifest, workspace; from pathlib import Path; import labserve.places as p\n"
        f"p.NOTEBOOKS = Path({str(places.NOTEBOOKS)!r}); p.MANIFEST = p.NOTEBOOKS / 'workbook.toml'\n"
        "space = workspace.current()\n"
        "for n in range(100):\n"
        "    with space.storing(sys.argv[1], f'{sys.argv[2]} = {n}'): pass\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, id_, name]) for id_, name in (("1.1", "a"), ("1.2", "b"))]
    assert [process.wait(60) for process in both] == [0, 0]
    found = sections.split(tiny.path("first").read_text())[1]
    assert found.keys() == {"1.1", "1.2"}
    assert "a = 99" in found["1.1"] or "b = 99" in found["1.2"]
    assert sorted(entry.name for entry in tiny.package.iterdir()) == ["__init__.py", "first.py"]


# Folders that are odd, or in the way


@pytest.mark.parametrize("name", ["with spaces", "жüß", "a'b\"c", "-dash", "per%cent", "@at.py"])
def test_odd_folder_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    space = workbook.make(tmp_path, monkeypatch, root=tmp_path / name / "work space")
    assembly.work_on(space, "first")
    store(space, "1.1", "a = 'mine'")
    assert assembly.load(space, "first").a == "mine"
    assert workspace.current().root == space.root


def test_a_workspace_behind_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    workbook.make(tmp_path, monkeypatch, root=tmp_path / "link")
    space = workspace.current()
    assert space.root == tmp_path / "real"
    assembly.work_on(space, "first")
    store(space, "1.1", "a = 'mine'")
    module = assembly.load(space, "first")
    assert module.__file__ == str(tmp_path / "real/my_service/first.py")
    assert assembly.load(space, "first") is module, "nothing changed, nothing is loaded anew"


def test_a_relative_workspace_is_below_the_folder_it_was_named_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workbook.make(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABSERVE_WORKSPACE", "mine")
    assert workspace.current().root == tmp_path / "mine"
    monkeypatch.setenv("LABSERVE_WORKSPACE", "")
    assert workspace.current().root == tmp_path / "workspace"
    monkeypatch.setenv("LABSERVE_WORKSPACE", "~/w")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert workspace.current().root == tmp_path / "w"


@pytest.mark.parametrize("place", ["below a file", "/proc/nothing", "too long"])
@pytest.mark.parametrize("act", ["begin", "store", "reset", "copy"])
def test_a_workspace_that_cannot_be_written_is_one_line(tiny: Workspace, tmp_path: Path, place: str, act: str) -> None:
    (tmp_path / "file").touch()
    root = {
        "below a file": tmp_path / "file/w",
        "/proc/nothing": Path("/proc/nothing"),
        "too long": Path("/" + "x" * 300),
    }
    space = Workspace(root[place], tiny.workbook)
    with pytest.raises(LabserveError) as raised:
        {
            "begin": lambda: space.begin(tiny.workbook.chapters[0]),
            "store": lambda: store(space, "1.1", "a = 1"),
            "reset": lambda: space.reset("1.1"),
            "copy": space.copy_notebooks,
        }[act]()
    message = str(raised.value)
    assert message.startswith(str(root[place]))
    assert "LABSERVE_WORKSPACE" in message
    assert "\n" not in message


def test_a_disk_that_fills_up_leaves_the_module(tiny: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    store(tiny, "1.1", "a = 1")
    before = tiny.path("first").read_bytes()

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(LabserveError, match=r"cannot be written \(No space left on device\)"):
        store(tiny, "1.1", "a = 2")
    assert tiny.path("first").read_bytes() == before
    assert sorted(entry.name for entry in tiny.package.iterdir()) == ["__init__.py", "first.py"]


def test_a_module_that_is_not_text_is_one_line(tiny: Workspace) -> None:
    tiny.begin(tiny.workbook.chapters[0])
    tiny.path("first").write_bytes(b"a = '\xe4'\n")
    for act in (lambda: store(tiny, "1.1", "a = 1"), lambda: tiny.digest("1.1"), lambda: tiny.reset("1.1")):
        with pytest.raises(LabserveError, match=r"first\.py: is not UTF-8 text from byte 5 on"):
            act()
    assert tiny.path("first").read_bytes() == b"a = '\xe4'\n"


# Resetting


def student_notebook(space: Workspace) -> Path:
    path = space.root / "01_first.ipynb"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        workbook.notebook("%%exercise 1.1\nmine = 1", "x = 1", "\n%%exercise 1.1 \nmine = 2", "%%exercise 1.2\nb")
    )
    return path


def test_reset_puts_the_stub_back_and_keeps_what_was_there(tiny: Workspace) -> None:
    store(tiny, "1.1", "mine = 1")
    store(tiny, "1.2", "other = 1")
    notebook = student_notebook(tiny)
    before = {path.name: path.read_bytes() for path in (tiny.path("first"), notebook)}
    backup = tiny.reset("1.1")
    assert {path.name: path.read_bytes() for path in backup.iterdir()} == before
    assert sections.split(tiny.path("first").read_text())[1] == {"1.1": tiny.stub("1.1"), "1.2": "other = 1"}
    cells = ["".join(cell["source"]) for cell in json.loads(notebook.read_text())["cells"]]
    stub = f"%%exercise 1.1\n{tiny.stub('1.1')}"
    assert cells == ["# Title", stub, "x = 1", stub, "%%exercise 1.2\nb"]


def test_reset_of_what_was_never_begun(tiny: Workspace) -> None:
    assert list(tiny.reset("1.1").iterdir()) == []
    assert tiny.section("1.1") == tiny.stub("1.1")
    assert tiny.path("first").exists()


def test_two_resets_in_the_same_second_keep_two_backups(tiny: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime(2026, 11, 23, 17, 42, 43, 7)

    monkeypatch.setattr(workspace, "datetime", Stopped)
    kept = []
    for text in ("mine = 1", "mine = 2", "mine = 3"):
        store(tiny, "1.1", text)
        kept.append((tiny.reset("1.1") / "first.py").read_text())
    assert [text in module for text, module in zip(("mine = 1", "mine = 2", "mine = 3"), kept, strict=True)] == [
        True
    ] * 3


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"cells": {}}',
        '{"cells": [1]}',
        '{"cells": [{"cell_type": "code", "source": 1}]}',
        "\xff",
        '{"cells": [{"cell_type": "code", "source": [1]}]}',
    ],
)
def test_a_damaged_notebook_stops_a_reset_before_anything_changes(tiny: Workspace, damage: str) -> None:
    store(tiny, "1.1", "mine = 1")
    notebook = student_notebook(tiny)
    notebook.write_bytes(damage.encode("latin-1"))
    before = tiny.path("first").read_bytes()
    with pytest.raises(LabserveError, match=r"01_first\.ipynb") as raised:
        tiny.reset("1.1")
    assert "\n" not in str(raised.value)
    assert notebook.read_bytes() == damage.encode("latin-1")
    assert tiny.path("first").read_bytes() == before


def test_a_notebook_keeps_all_that_is_not_an_answer(tmp_path: Path) -> None:
    data = json.loads(workbook.notebook("%%exercise 1.1\na", "ä\u2028b"))
    data["metadata"]["unknown"] = {"a": [1.0, None, "ж"]}
    data["cells"][1]["attachments"] = {}
    notebooks.write(tmp_path / "n.ipynb", notebooks.splice(data, {"1.1": "a"}))
    assert notebooks.read(tmp_path / "n.ipynb") == data
    assert notebooks.answers(data) == {"1.1": "a"}
    with pytest.raises(LabserveError, match="there is no such notebook"):
        notebooks.read(tmp_path / "nothing.ipynb")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("%%exercise 1.1\na", {"1.1": "a"}),
        ("%%exercise 1.1", {"1.1": ""}),
        ("\n\n%%exercise\t1.1  \r\na\r\n", {"1.1": "a\r\n"}),
        ("%%exercise\na", {}),
        ("x\n%%exercise 1.1\na", {}),
        ("%%exercises 1.1\na", {}),
        ("%%exercise 1.1 # note\na", {}),
    ],
)
def test_answer_cells_are_found_where_the_magic_would_be(source: str, found: dict[str, str]) -> None:
    assert notebooks.answers(json.loads(workbook.notebook(source))) == found


def test_notebooks_are_copied_once(tiny: Workspace) -> None:
    (places.NOTEBOOKS / "images" / "a.png").write_bytes(b"png")
    tiny.copy_notebooks()
    (tiny.root / "01_first.ipynb").write_text("mine")
    (tiny.root / "02_second.ipynb").unlink()
    tiny.copy_notebooks()
    assert (tiny.root / "01_first.ipynb").read_text() == "mine"
    assert (tiny.root / "02_second.ipynb").read_bytes() == (places.NOTEBOOKS / "02_second.ipynb").read_bytes()
    assert (tiny.root / "images" / "a.png").exists()


# Loading


def test_quick_edits_of_the_same_length_are_loaded(tiny: Workspace) -> None:
    assembly.work_on(tiny, "first")
    for number in range(10, 60):
        store(tiny, "1.1", f"a = {number}")
        stamp = tiny.path("first").stat()
        os.utime(tiny.path("first"), ns=(stamp.st_atime_ns, 10**18))  # an edit within one tick of the clock
        assert assembly.load(tiny, "first").a == number


def test_an_edit_in_the_file_itself_is_loaded(tiny: Workspace) -> None:
    assembly.work_on(tiny, "first")
    store(tiny, "1.1", "a = 1")
    assert assembly.load(tiny, "first").a == 1
    path = tiny.path("first")
    path.write_text(path.read_text().replace("a = 1", "a = 2"))
    assert assembly.load(tiny, "first").a == 2


def test_what_does_not_load_is_loaded_again_once_it_is_mended(tiny: Workspace) -> None:
    assembly.work_on(tiny, "first")
    store(tiny, "1.1", "a = 1")
    with pytest.raises(ZeroDivisionError), tiny.storing("1.1", "a = 1 / 0"):
        assembly.load(tiny, "first")
    assert assembly.load(tiny, "first").a == 1


def test_the_modules_of_student_and_reference_import_each_other(tiny: Workspace) -> None:
    assembly.work_on(tiny, "first")
    assert assembly.load(tiny, "second").shout("a") == "HELLO A", "both are the reference's"
    store(tiny, "1.1", "def greet(name): return f'hi {name}'")
    second = assembly.load(tiny, "second")
    assert second.shout("a") == "HI A"
    assert second.__file__ == str(places.REFERENCE / "second.py")
    assembly.work_on(tiny, "second")
    store(
        tiny,
        "2.1",
        "from .first import greet\nfrom .settings import Settings\ndef shout(name): return greet(name) + '!'",
    )
    assert assembly.load(tiny, "second").shout("a") == "hello a!", "the first has not passed: the reference's"
    for exercise in tiny.workbook.chapters[0].exercises:
        Journal(tiny).record_check(exercise.id, 1, 1)
    assert assembly.load(tiny, "second").shout("a") == "hi a!"


def choices(space: Workspace) -> str:
    return ", ".join(str(choice) for choice in assembly.choices(space) if choice.module != "settings")


def test_a_module_is_mine_when_it_passes_or_while_i_work_on_it(tiny: Workspace) -> None:
    store(tiny, "1.1", "a = 1")
    store(tiny, "2.1", "b = 1")
    assert choices(tiny) == "first reference, second reference"
    assembly.work_on(tiny, "first")
    assert choices(tiny) == "first yours, second reference"
    for exercise in tiny.workbook.chapters[0].exercises:
        Journal(tiny).record_check(exercise.id, 1, 1)
    assembly.work_on(tiny, "second")
    assert choices(tiny) == "first yours, second yours"
    store(tiny, "1.1", "a = 2")
    assert choices(tiny) == "first reference, second yours", "it was edited since it passed"
    store(tiny, "1.1", "a = 1")
    assert choices(tiny) == "first yours, second yours"
    Journal(tiny).record_check("1.2", 0, 1)
    assert choices(tiny) == "first reference, second yours"


def test_the_student_imports_the_service_directly(tiny: Workspace) -> None:
    assembly.make_importable(tiny)
    assembly.work_on(tiny, "first")
    assert importlib.import_module("my_service.first").greet("a") == "hello a"
    store(tiny, "1.1", "def greet(name): return f'hi {name}'")
    assembly.load(tiny, "first")
    assert importlib.import_module("my_service.first").greet("a") == "hi a"


def test_another_process_loads_the_same_modules(tiny: Workspace) -> None:
    """As `uvicorn my_service.app:app` does, from the workspace; the workbook here is the real one."""
    code = "import my_service.hello as h; print(h.__file__, h.router.routes[0].path)"
    space = Workspace(
        tiny.root, workspace.manifest.load(Path(workspace.__file__).parent.parent / "notebooks/workbook.toml")
    )
    space.open_package()
    said = subprocess.check_output([sys.executable, "-c", code], cwd=tiny.root, text=True)
    assert said.strip().endswith("solutions/hello.py /")


def test_two_workspaces_in_one_process_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = workbook.make(tmp_path, monkeypatch)
    other = Workspace(tmp_path / "other", one.workbook)
    assembly.work_on(one, "first")
    store(one, "1.1", "a = 'one'")
    store(other, "1.1", "a = 'two'")
    assert [assembly.load(space, "first").a for space in (one, other, one)] == ["one", "two", "one"]


def test_a_long_history_does_not_slow_the_choice(tiny: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The progress file is read once a choice, however many exercises there are."""
    store(tiny, "1.1", "a = 1")
    store(tiny, "2.1", "b = 1")
    for _ in range(50):
        Journal(tiny).record_check("1.1", 1, 1)
    reads = []
    read_text = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda self, **how: reads.append(self.name) or read_text(self, **how))
    assembly.choices(tiny)
    assert reads.count("progress.txt") == 1
