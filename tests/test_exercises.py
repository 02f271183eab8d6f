"""The contract between stub, reference answer and check, for every exercise of the manifest.

`wrong_answers/2.1/*.py` each name on their first line the piece of the message that they must earn, and
`other_answers/2.1/*.py` what design theirs is. `wrong_answers/2.1/stub.txt` is what the stub must earn where it is not
the plain "is still a stub".
"""

from pathlib import Path

import pytest

from labserve import assembly, checking, coaching, notebooks, places, sections
from labserve.manifest import Exercise
from labserve.workspace import Workspace

from .conftest import WORKBOOK

HERE = Path(__file__).parent
EXERCISES = WORKBOOK.exercises


def answers(folder: str) -> list:
    return [
        pytest.param(exercise, path, id=f"{exercise.id}-{path.stem}")
        for exercise in EXERCISES
        for path in sorted((HERE / folder / exercise.id).glob("*.py"))
    ]


def report(space: Workspace, exercise: Exercise, source: str) -> checking.Report:
    """Check one answer, with the reference's for the other exercises of the chapter."""
    chapter = space.workbook.chapter_of(exercise.id)
    assembly.work_on(space, chapter.module)
    for other in chapter.exercises:
        text = source if other is exercise else coaching.reference_answer(space, other)
        with space.storing(other.id, text):
            pass
    return checking.run(space, exercise, seed=1)


def text(result: checking.Report) -> str:
    return "\n".join(result.lines())


def by_id(exercise: Exercise) -> str:
    return exercise.id


@pytest.fixture(autouse=True)
def _no_leftover_choice(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """`work_on` sets a variable of the environment and the import path; both end with the test."""
    monkeypatch.setenv("LABSERVE_WORKING", "")
    monkeypatch.syspath_prepend(str(space.root))


@pytest.mark.parametrize("exercise", EXERCISES, ids=by_id)
def test_the_reference_passes(space: Workspace, exercise: Exercise) -> None:
    result = report(space, exercise, coaching.reference_answer(space, exercise))
    assert result.ok, text(result)
    assert result.points == exercise.points


@pytest.mark.parametrize("exercise", EXERCISES, ids=by_id)
def test_the_stub_fails_for_its_named_reason(space: Workspace, exercise: Exercise) -> None:
    expected = HERE / "wrong_answers" / exercise.id / "stub.txt"
    message = expected.read_text().strip() if expected.exists() else f"exercise {exercise.id} is still a stub"
    result = report(space, exercise, space.stub(exercise.id))
    assert not result.ok
    assert message in text(result)


@pytest.mark.parametrize(("exercise", "path"), answers("wrong_answers"))
def test_a_wrong_answer_earns_its_message(space: Workspace, exercise: Exercise, path: Path) -> None:
    first, _, source = path.read_text().partition("\n")
    assert first.startswith("# earns: ")
    result = report(space, exercise, source)
    assert not result.ok, f"{path.name} passes"
    assert first.removeprefix("# earns: ").strip() in text(result), text(result)


@pytest.mark.parametrize(("exercise", "path"), answers("other_answers"))
def test_an_answer_of_another_design_passes(space: Workspace, exercise: Exercise, path: Path) -> None:
    first, _, source = path.read_text().partition("\n")
    assert first.startswith("# another design: ")
    result = report(space, exercise, source)
    assert result.ok, text(result)


@pytest.mark.parametrize("exercise", EXERCISES, ids=by_id)
def test_every_exercise_has_its_wrong_and_other_answers(exercise: Exercise) -> None:
    assert len(list((HERE / "wrong_answers" / exercise.id).glob("*.py"))) >= 3
    assert len(list((HERE / "other_answers" / exercise.id).glob("*.py"))) >= 1


@pytest.mark.parametrize("exercise", EXERCISES, ids=by_id)
def test_stub_and_reference_declare_the_same_names(space: Workspace, exercise: Exercise) -> None:
    reference = coaching.reference_answer(space, exercise)
    assert sections.public_names(space.stub(exercise.id)) == sections.public_names(reference)


@pytest.mark.parametrize("chapter", WORKBOOK.chapters, ids=lambda chapter: chapter.module)
def test_a_chapter_of_stubs_fails_no_other_chapter(space: Workspace, chapter, monkeypatch) -> None:
    """With this chapter's stubs stored, and not being worked on, every other chapter's reference still passes."""
    space.begin(chapter)
    for other in WORKBOOK.chapters:
        if other is not chapter:
            exercise = other.exercises[0]
            result = report(space, exercise, coaching.reference_answer(space, exercise))
            assert result.ok, text(result)
            assert f"{chapter.module} reference" in [str(choice) for choice in assembly.choices(space)]


def test_the_answer_cells_are_those_of_the_manifest() -> None:
    for chapter in WORKBOOK.chapters:
        cells = notebooks.answers(notebooks.read(places.NOTEBOOKS / chapter.notebook))
        assert list(cells) == [exercise.id for exercise in chapter.exercises]


def test_the_reference_modules_have_the_sections_of_the_manifest() -> None:
    for chapter in WORKBOOK.chapters:
        head, found = sections.split((places.REFERENCE / f"{chapter.module}.py").read_text())
        assert list(found) == [exercise.id for exercise in chapter.exercises]
        assert not sections.public_names(head), "the head holds a docstring and imports; code belongs to a section"


def test_no_answer_folder_is_left_over() -> None:
    ids = {exercise.id for exercise in EXERCISES}
    for folder in ("wrong_answers", "other_answers"):
        assert {path.name for path in (HERE / folder).iterdir()} <= ids
