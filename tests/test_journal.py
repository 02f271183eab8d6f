"""The progress file: what is written, what is made of it, and what is made of lines that someone mangled."""

from pathlib import Path

import pytest

from labserve import journal
from labserve.errors import LabserveError
from labserve.journal import Journal, Standing
from labserve.manifest import Exercise
from labserve.workspace import Workspace

from . import tiny as workbook


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    return workbook.make(tmp_path, monkeypatch)


@pytest.fixture
def greet(tiny: Workspace) -> Exercise:
    return tiny.workbook.exercise("1.1")


def store(space: Workspace, id_: str, text: str) -> None:
    with space.storing(id_, text):
        pass


def test_an_exercise_goes_from_new_to_passed_to_edited_and_back(tiny: Workspace, greet: Exercise) -> None:
    progress = Journal(tiny)
    assert progress.standing(greet) is Standing.NEW
    store(tiny, "1.1", "a = 1")
    assert progress.standing(greet) is Standing.NEW
    progress.record_check("1.1", 1, 2)
    assert progress.standing(greet) is Standing.FAILING
    progress.record_check("1.1", 2, 2)
    assert progress.standing(greet) is Standing.PASSED
    store(tiny, "1.1", "a = 2")
    assert progress.standing(greet) is Standing.EDITED
    store(tiny, "1.1", "\n\na = 1  \n")
    assert progress.standing(greet) is Standing.PASSED, "blank space around it is no edit"
    progress.record_check("1.1", 0, 2)
    assert progress.standing(greet) is Standing.FAILING
    assert Journal(tiny).standing(greet) is Standing.FAILING


def test_a_stub_that_was_checked_is_the_stub_as_long_as_nothing_is_stored(tiny: Workspace, greet: Exercise) -> None:
    Journal(tiny).record_check("1.1", 2, 2)
    assert Journal(tiny).standing(greet) is Standing.PASSED
    store(tiny, "1.1", "a = 1")
    assert Journal(tiny).standing(greet) is Standing.EDITED


def test_the_file_is_text_that_only_grows(tiny: Workspace) -> None:
    Journal(tiny).record("quiz 1", "quiz", "4/6")
    Journal(tiny).record("1.1", "hint", "1/3")
    lines = tiny.progress_file.read_text().splitlines()
    assert [line.split("\t")[1:] for line in lines] == [["quiz 1", "quiz", "4/6"], ["1.1", "hint", "1/3"]]
    assert [event.detail for event in Journal(tiny).events("quiz 1", "quiz")] == ["4/6"]


def test_two_journals_see_what_the_other_wrote_before_them(tiny: Workspace) -> None:
    one, other = Journal(tiny), Journal(tiny)
    one.record("1.1", "hint", "1/3")
    assert len(other.events("1.1", "hint")) == 1
    other.record("1.1", "hint", "2/3")
    assert len(other.events("1.1", "hint")) == 2


MANGLED = [
    "",
    "nonsense",
    "2026-11-23 17:42:43\t1.1\tcheck\t",
    "2026-11-23 17:42:43\t1.1\tcheck\t ",
    "2026-11-23 17:42:43\t1.1\tcheck\t2",
    "2026-11-23 17:42:43\t1.1\tcheck\t2/2",
    "2026-11-23 17:42:43\t1.1\tcheck\t0/2  ",
    "2026-11-23 17:42:43\t1.1\tcheck\t0/2 {digest} more",
    "2026-11-23 17:42:43\t1.1\tcheck\tx/x {digest}",
    "2026-11-23 17:42:43\t1.1\tcheck\t/ {digest}",
    "2026-11-23 17:42:43\t1.1\tcheck",
    "2026-11-23 17:42:43\t1.1\tcheck\t0/2 {digest}\tmore",
    "2026-11-23 17:42:43 1.1 check 0/2 {digest}",
    "2026-11-23 17:42:43\t1.2\tcheck\t0/2 {digest}",
    "2026-11-23 17:42:43\t1.1\tsolution\t0/2 {digest}",
    "\x00\udcff",
]


@pytest.mark.parametrize("line", MANGLED)
def test_a_mangled_line_counts_as_no_line(tiny: Workspace, greet: Exercise, line: str) -> None:
    line = line.format(digest=tiny.digest("1.1"))
    tiny.root.mkdir()
    tiny.progress_file.write_bytes((line + "\n").encode(errors="surrogateescape"))
    assert Journal(tiny).standing(greet) is Standing.NEW
    Journal(tiny).record_check("1.1", 2, 2)
    with tiny.progress_file.open("ab") as file:
        file.write((line + "\n").encode(errors="surrogateescape"))
    assert Journal(tiny).standing(greet) is Standing.PASSED
    assert list(journal.table(tiny))


def test_windows_lines_and_a_mark_of_byte_order_are_read(tiny: Workspace, greet: Exercise) -> None:
    Journal(tiny).record_check("1.1", 1, 2)
    Journal(tiny).record_check("1.1", 2, 2)
    text = tiny.progress_file.read_bytes().replace(b"\n", b"\r\n")
    tiny.progress_file.write_bytes(b"\xef\xbb\xbf" + text)
    assert Journal(tiny).standing(greet) is Standing.PASSED
    Journal(tiny).record_check("1.1", 1, 2)
    assert Journal(tiny).standing(greet) is Standing.FAILING


@pytest.mark.parametrize("end", [b"", b"\r"])
def test_a_last_line_without_its_end_keeps_what_comes_next_apart(tiny: Workspace, greet: Exercise, end: bytes) -> None:
    Journal(tiny).record_check("1.1", 1, 2)
    tiny.progress_file.write_bytes(tiny.progress_file.read_bytes().rstrip() + end)
    Journal(tiny).record_check("1.1", 2, 2)
    assert Journal(tiny).standing(greet) is Standing.PASSED
    assert len(Journal(tiny).events("1.1", "check")) == 2


def test_a_chapter_passes_when_each_of_its_exercises_has(tiny: Workspace) -> None:
    first, second = tiny.workbook.chapters
    assert Journal(tiny).next_chapter() is first
    Journal(tiny).record_check("1.1", 2, 2)
    assert not Journal(tiny).passes(first)
    Journal(tiny).record_check("1.2", 1, 1)
    assert Journal(tiny).passes(first)
    assert Journal(tiny).next_chapter() is second
    Journal(tiny).record_check("2.1", 1, 1)
    assert Journal(tiny).next_chapter() is second, "when all have passed it is the last"


def test_the_table(tiny: Workspace) -> None:
    store(tiny, "1.2", "a = 1")
    Journal(tiny).record_check("1.2", 3, 3)
    Journal(tiny).record_check("2.1", 0, 3)
    assert list(journal.table(tiny)) == [
        "1. First",
        "     1.1 Greet (1 point): not started",
        "   ✓ 1.2 Count (3 points): passed",
        "2. Second",
        "   ✗ 2.1 Build on the first (2 points): not passed yet",
        "3 of 6 points from exercises that pass.",
    ]
    store(tiny, "1.2", "a = 2")
    assert "   ~ 1.2 Count (3 points): edited since it passed" in list(journal.table(tiny))


def test_a_file_that_cannot_be_written_or_read_is_one_line(tiny: Workspace, greet: Exercise) -> None:
    tiny.progress_file.mkdir(parents=True)
    for act in (lambda: Journal(tiny).record("1.1", "hint"), lambda: Journal(tiny).standing(greet)):
        with pytest.raises(LabserveError) as raised:
            act()
        assert str(tiny.progress_file) in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_workspace_below_a_file_is_one_line(tiny: Workspace, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    space = Workspace(tmp_path / "file" / "workspace", tiny.workbook)
    assert Journal(space).standing(tiny.workbook.exercise("1.1")) is Standing.NEW
    with pytest.raises(LabserveError, match=r"cannot be written .*LABSERVE_WORKSPACE"):
        Journal(space).record("1.1", "hint")
