"""The manifest's faults, each told in one line with the file and the line it is on."""

import re
from pathlib import Path

import pytest

from labserve import manifest, places
from labserve.errors import LabserveError

from .tiny import MANIFEST


def line_of(text: str, needle: str, nth: int = 1) -> int:
    """The number of the nth line that holds `needle`."""
    return [number for number, line in enumerate(text.split("\n"), 1) if needle in line][nth - 1]


THREE = (
    MANIFEST
    + """
[[chapter]]
number = 3
title = "Third"
notebook = "03_third.ipynb"
module = "third"

[[chapter.exercise]]
id = "3.1"
title = "Finish"
objective = "End."
points = 1
minutes = 5
hints = ["One: id = \\"1.1\\".", "Two."]

[[chapter.exercise]]
id = "3.2"
title = "Rest"
objective = "Sleep."
points = 1
minutes = 5
hints = ["One.", "Two."]
"""
)


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    for name in ("first", "second", "third"):
        (tmp_path / f"{name}.py").touch()
    return tmp_path


def fault(tmp_path: Path, text: str, reference: Path | None = None) -> tuple[int, str]:
    """The line and the rest of the message."""
    path = tmp_path / "workbook.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(manifest.ManifestError) as raised:
        manifest.load(path, reference)
    message = str(raised.value)
    assert "\n" not in message
    found = re.fullmatch(re.escape(str(path)) + r":(\d+): (.+)", message)
    assert found, message
    return int(found[1]), found[2]


def test_a_sound_manifest(tmp_path: Path, reference: Path) -> None:
    path = tmp_path / "workbook.toml"
    path.write_text(THREE)
    book = manifest.load(path, reference)
    assert [exercise.id for exercise in book.exercises] == ["1.1", "1.2", "2.1", "3.1", "3.2"]
    assert book.modules == ["first", "second", "third"]
    assert book.chapter(3).title == "Third"
    assert book.chapter_of("3.2").number == 3
    assert book.chapter(1).quiz == "01_first.json"


def test_the_manifest_of_the_workbook_is_sound() -> None:
    assert manifest.load(places.MANIFEST, places.REFERENCE).exercises


REMOVED = [  # the line to leave out, which of its kind, where the fault is told, and which of that kind
    ('title = "First"', 1, "[[chapter]]", 1),
    ('title = "Second"', 1, "[[chapter]]", 2),
    ('module = "third"', 1, "[[chapter]]", 3),
    ('hints = ["One.", "Two."]', 1, "[[chapter.exercise]]", 3),
    ('hints = ["One.", "Two."]', 2, "[[chapter.exercise]]", 5),
    ("points = 3", 1, "[[chapter.exercise]]", 2),
    ('title = "Rest"', 1, "[[chapter.exercise]]", 5),
]


@pytest.mark.parametrize(("gone", "nth", "head", "which"), REMOVED)
def test_a_missing_entry_names_the_head_of_its_table(
    tmp_path: Path, gone: str, nth: int, head: str, which: int
) -> None:
    lines = THREE.split("\n")
    del lines[line_of(THREE, gone, nth) - 1]
    line, message = fault(tmp_path, "\n".join(lines))
    assert line == line_of("\n".join(lines), head, which)
    assert message.endswith(f"{gone.partition(' ')[0]}: Field required")


CHANGED = [  # what is there, what comes in its place, which of its kind, and a piece of the message
    ('hints = ["Look at 1.2.", "Look again.", "Return it."]', 'hints = ["Look."]', 1, "at least 2 items"),
    ('hints = ["One.", "Two."]', 'hints = ["One.", ""]', 2, "exercise.1.hints.1: String should have at least 1"),
    ("minutes = 5", "minutes = 31", 2, "less than or equal to 30"),
    ("minutes = 5", "minutes = 0.5", 5, "chapter.2.exercise.1.minutes: Input should be a valid integer"),
    ('objective = "Sleep."', 'colour = "red"\nobjective = "Sleep."', 1, "exercise.1.colour: Extra inputs"),
    ('title = "Second"', 'titel = "x"\ntitle = "Second"', 1, "chapter.1.titel: Extra inputs"),
    ('title = "Rest"', '  title = ""', 1, "exercise.1.title: String should have at least 1"),
    ('id = "1.2"', 'id = "1.1"', 1, "duplicate exercise id 1.1"),
    ('id = "3.2"', 'id = "3.1"', 1, "duplicate exercise id 3.1"),
    ('id = "3.2"', 'id = "2.2"', 1, "exercise id 2.2 stands in another chapter"),
    ('id = "3.2"', 'id = "3.10"', 1, "should match pattern"),
    ("number = 3", "number = 1", 1, "duplicate chapter number 1"),
    ('module = "third"', 'module = "first"', 1, "duplicate module first"),
    ('notebook = "03_third.ipynb"', 'notebook = "01_first.ipynb"', 1, "duplicate notebook 01_first.ipynb"),
    ('module = "third"', 'module = "Third!"', 1, "should match pattern"),
    ('module = "third"', 'module = "fourth"', 1, "unknown module 'fourth': no fourth.py in "),
]


@pytest.mark.parametrize(("old", "new", "nth", "piece"), CHANGED)
def test_a_wrong_entry_names_its_own_line(
    tmp_path: Path, reference: Path, old: str, new: str, nth: int, piece: str
) -> None:
    lines = THREE.split("\n")
    number = line_of(THREE, old, nth)
    lines[number - 1 : number] = new.split("\n")
    line, message = fault(tmp_path, "\n".join(lines), reference)
    assert line == number
    assert piece in message


def test_bad_toml_names_the_line(tmp_path: Path) -> None:
    number = line_of(THREE, 'title = "Rest"')
    line, message = fault(tmp_path, THREE.replace('title = "Rest"', "title = Rest"))
    assert line == number
    assert message.startswith("not valid TOML: ")
    line, message = fault(tmp_path, THREE + 'more = """\n')
    assert line in (len(THREE.split("\n")), len(THREE.split("\n")) + 1)
    line, _ = fault(tmp_path, THREE + "points = 1\n")
    assert line == len(THREE.split("\n"))


def test_faults_at_the_top(tmp_path: Path) -> None:
    assert fault(tmp_path, "") == (1, "chapter: Field required")
    assert fault(tmp_path, "\nchapters = 1\n" + THREE) == (2, "chapters: Extra inputs are not permitted")
    assert fault(tmp_path, '\n[chapter]\ntitle = "x"\n')[0] == 2
    line, message = fault(tmp_path, THREE + "\n[[chapter.exercize]]\nid = 1\n")
    assert (line, message) == (len(THREE.split("\n")) + 1, "chapter.2.exercize: Extra inputs are not permitted")


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(manifest.ManifestError, match=r"nothing\.toml: cannot be read \(No such file"):
        manifest.load(tmp_path / "nothing.toml")
    with pytest.raises(manifest.ManifestError, match="cannot be read"):
        manifest.load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"# one\n# two \xe4\n")
    with pytest.raises(manifest.ManifestError, match=r"latin\.toml:2: not UTF-8"):
        manifest.load(tmp_path / "latin.toml")


@pytest.mark.parametrize(
    ("wrong", "piece"),
    [
        ("3.7", "There is no exercise '3.7'. Did you mean one of 3.1, 3.2?"),
        ("seven", "one of 1.1, 1.2, 2.1, 3.1, 3.2?"),
        ("3", "one of 3.1, 3.2?"),
        ("", "Name an exercise, such as 1.1."),
    ],
)
def test_an_unknown_exercise_names_those_near(tmp_path: Path, wrong: str, piece: str) -> None:
    path = tmp_path / "workbook.toml"
    path.write_text(THREE)
    with pytest.raises(LabserveError) as raised:
        manifest.load(path).exercise(wrong)
    assert piece in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_unknown_chapter_names_those_there_are(tmp_path: Path) -> None:
    path = tmp_path / "workbook.toml"
    path.write_text(THREE)
    with pytest.raises(LabserveError, match=r"There is no chapter 4\. Chapters: 1, 2, 3\."):
        manifest.load(path).chapter(4)
