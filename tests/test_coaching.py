"""Hints one at a time, and the reference once it can do no harm."""

from pathlib import Path

import pytest

from labserve import coaching, places
from labserve.errors import LabserveError
from labserve.journal import Journal
from labserve.manifest import Exercise
from labserve.workspace import Workspace

from . import tiny as workbook


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    return workbook.make(tmp_path, monkeypatch)


@pytest.fixture
def count(tiny: Workspace) -> Exercise:
    return tiny.workbook.exercise("1.2")


def store(space: Workspace, id_: str, text: str) -> None:
    with space.storing(id_, text):
        pass


def test_hints_come_in_order_apart_for_each_exercise_and_start_over(tiny: Workspace, count: Exercise) -> None:
    greet = tiny.workbook.exercise("1.1")
    assert coaching.hint(tiny, count) == "Hint 1 of 2 for 1.2: One."
    assert coaching.hint(tiny, greet) == "Hint 1 of 3 for 1.1: Look at 1.2."
    assert coaching.hint(tiny, count) == "Hint 2 of 2 for 1.2: Two."
    assert coaching.hint(tiny, count) == "Hint 1 of 2 for 1.2: One."
    assert [event.detail for event in Journal(tiny).events("1.2", "hint")] == ["1/2", "2/2", "1/2"]


def test_the_first_asking_holds_the_solution_back(tiny: Workspace, count: Exercise) -> None:
    shown = coaching.solution(tiny, count)
    assert "return sum" not in shown
    assert "1.2 has not passed yet. hint('1.2') may be all you need" in shown
    assert "return sum(numbers)" in coaching.solution(tiny, count)
    assert "return sum(numbers)" in coaching.solution(tiny, count)
    assert "1.1 has not passed yet" in coaching.solution(tiny, tiny.workbook.exercise("1.1")), (
        "each is asked for itself"
    )


def test_a_pass_opens_the_solution(tiny: Workspace, count: Exercise) -> None:
    store(tiny, "1.2", "def count(numbers):\n    return sum(n for n in numbers)\n")
    Journal(tiny).record_check("1.2", 2, 2)
    shown = coaching.solution(tiny, count)
    reference, difference = shown.split("\n\n--- yours\n+++ reference\n")
    assert reference == 'def count(numbers: list[int]) -> int:\n    """Add."""\n    return sum(numbers)'
    assert "-    return sum(n for n in numbers)" in difference.split("\n")
    assert "+    return sum(numbers)" in difference.split("\n")


def test_an_edit_after_the_pass_closes_it(tiny: Workspace, count: Exercise) -> None:
    store(tiny, "1.2", "a = 1")
    Journal(tiny).record_check("1.2", 2, 2)
    store(tiny, "1.2", "a = 2")
    assert "has not passed yet" in coaching.solution(tiny, count)


def test_the_same_answer_is_said_to_be_the_same(tiny: Workspace, count: Exercise) -> None:
    store(tiny, "1.2", f"\n{coaching.reference_answer(tiny, count)}\n\n")
    Journal(tiny).record_check("1.2", 2, 2)
    assert coaching.solution(tiny, count).endswith("Yours is the same, to the letter.")


def test_the_reference_comes_with_the_imports_it_uses(tiny: Workspace) -> None:
    text = coaching.reference_answer(tiny, tiny.workbook.exercise("1.1"))
    assert text.startswith("from fastapi import APIRouter\n\n\nrouter = APIRouter()")
    assert coaching.reference_answer(tiny, tiny.workbook.exercise("2.1")).startswith("from .first import greet\n")


def test_a_missing_reference_is_one_line(tiny: Workspace, count: Exercise) -> None:
    path = places.REFERENCE / "first.py"
    path.write_text(path.read_text().replace("# exercise 1.2", "# 1.2"))
    with pytest.raises(LabserveError, match=r"There is no reference for 1\.2 here \(first\.py does not answer it\)"):
        coaching.reference_answer(tiny, count)
    path.unlink()
    with pytest.raises(LabserveError, match="There is no reference"):
        coaching.reference_answer(tiny, count)
