"""Help on an exercise: hints one at a time, and the reference answer once it can do no harm."""

import difflib

from labserve import places, sections
from labserve.errors import LabserveError
from labserve.journal import Journal, Standing
from labserve.manifest import Exercise
from labserve.workspace import Workspace


def hint(space: Workspace, exercise: Exercise) -> str:
    """The next hint; after the last one it starts over. What was given is kept in the progress file."""
    progress = Journal(space)
    given = len(progress.events(exercise.id, "hint"))
    number = given % len(exercise.hints)
    progress.record(exercise.id, "hint", f"{number + 1}/{len(exercise.hints)}")
    return f"Hint {number + 1} of {len(exercise.hints)} for {exercise.id}: {exercise.hints[number]}"


def solution(space: Workspace, exercise: Exercise) -> str:
    """The reference answer and how the student's differs; held back at the first asking of an exercise not passed."""
    progress = Journal(space)
    asked = progress.events(exercise.id, "solution")
    progress.record(exercise.id, "solution", str(len(asked) + 1))
    if not asked and progress.standing(exercise) is not Standing.PASSED:
        return (
            f"{exercise.id} has not passed yet. hint({exercise.id!r}) may be all you need; "
            f"ask solution({exercise.id!r}) again and you will see the reference."
        )
    reference = reference_answer(space, exercise)
    difference = "\n".join(
        difflib.unified_diff(
            _lines(space.section(exercise.id)),
            _lines(reference),
            fromfile="yours",
            tofile="reference",
            lineterm="",
        )
    )
    return f"{reference}\n\n{difference or 'Yours is the same, to the letter.'}"


def _lines(source: str) -> list[str]:
    """The lines to compare: empty ones, which mean nothing, would only hide the others."""
    return [line.rstrip() for line in source.splitlines() if line.strip()]


def reference_answer(space: Workspace, exercise: Exercise) -> str:
    """The part of the reference that answers an exercise, with the imports it uses."""
    module = space.workbook.chapter_of(exercise.id).module
    path = places.REFERENCE / f"{module}.py"
    try:
        return sections.answer(path.read_text(encoding="utf-8"), exercise.id)
    except (OSError, KeyError):
        raise LabserveError(f"There is no reference for {exercise.id} here ({path.name} does not answer it).") from None
