"""What a notebook uses: the `%%exercise` magic, and functions that print for a reader."""

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labserve import assembly, checking, coaching, files, journal, places, sections, workspace
from labserve.errors import LabserveError
from labserve.workspace import Workspace

if TYPE_CHECKING:
    from fastapi import FastAPI


class CheckFailed(LabserveError):
    """Raised by `check` after its report, so that a cell that did not pass counts as failed."""


def register(shell: Any) -> None:
    """Give a notebook the magic."""
    shell.register_magic_function(_exercise_magic(shell), "cell", "exercise")
    space = workspace.current()
    assembly.make_importable(space)
    print(f"labserve is ready. What you write is kept in {space.package}")


def check(exercise_id: str) -> None:
    """Check an exercise: a line for each thing tried, and CheckFailed if one of them fails."""
    space, exercise = _exercise(exercise_id)
    assembly.work_on(space, space.workbook.chapter_of(exercise.id).module)
    try:
        report = checking.run(space, exercise)
    except KeyboardInterrupt:
        raise CheckFailed(f"The check of {exercise.id} was interrupted; nothing was recorded.") from None
    *lines, summary = map(checking.folded, report.lines())
    print("\n".join(lines))
    if not report.ok:
        raise CheckFailed(summary)
    print(summary)


def hint(exercise_id: str) -> None:
    """Print the next hint of an exercise."""
    print(coaching.hint(*_exercise(exercise_id)))


def solution(exercise_id: str) -> None:
    """Print the reference answer and how yours differs, once the check has passed or you have asked twice."""
    print(coaching.solution(*_exercise(exercise_id)))


def reset(exercise_id: str) -> None:
    """Put the stub back, keeping a backup; in a notebook the stub appears in a cell below."""
    space, exercise = _exercise(exercise_id)
    shell = _shell()
    backup = space.reset(exercise.id, in_notebook=shell is None)
    journal.Journal(space).record(exercise.id, "reset")
    print(f"{exercise.id} is the stub again. What you had is in {backup}")
    if shell is not None:
        print("A fresh cell is below: work in that one, and delete the old one.")
        shell.set_next_input(f"%%exercise {exercise.id}\n{space.stub(exercise.id)}")


def progress() -> None:
    """Print where you stand, exercise by exercise."""
    print("\n".join(journal.table(workspace.current())))


def quiz(chapter: int) -> None:
    """Show a chapter's quiz."""
    from labserve import quizzes

    quizzes.display(places.QUIZZES / workspace.current().workbook.chapter(chapter).quiz)


def service(chapter: int, **settings: Any) -> "FastAPI":
    """Your service as it stands after a chapter. Prints which modules are yours and which the reference's."""
    space = workspace.current()
    upto = space.workbook.chapter(chapter).module
    if space.path(upto).exists():
        assembly.work_on(space, upto)
    modules = space.workbook.modules[: space.workbook.modules.index(upto) + 1]
    print("Modules: " + ", ".join(str(choice) for choice in assembly.choices(space) if choice.module in modules))
    return assembly.service(space, upto, **settings)


def _exercise(exercise_id: str) -> tuple[Workspace, Any]:
    space = workspace.current()
    return space, space.workbook.exercise(str(exercise_id))


def _exercise_magic(shell: Any) -> Any:
    def exercise(line: str, cell: str) -> None:
        """%%exercise 2.1: store the cell as that section of your module, load it, and bring its names here."""
        space, wanted = _exercise(line.strip())
        module = space.workbook.chapter_of(wanted.id).module
        with space.storing(wanted.id, cell) as path:
            assembly.work_on(space, module)
            try:
                loaded = assembly.load(space, module)
            except BaseException as error:  # sys.exit() in a cell, or the interrupt of a loop, too
                raise LabserveError(_not_loaded(wanted.id, path, cell, error)) from None
        names = [name for name in vars(loaded) if not name.startswith("_")]
        shell.push({name: getattr(loaded, name) for name in names}, interactive=False)
        print(f"{wanted.id} is stored in {path.parent.name}/{path.name}")

    return exercise


def _not_loaded(exercise_id: str, path: Path, cell: str, error: BaseException) -> str:
    """What to tell of a module that raised while it was loaded: the fault, and its line in the cell."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines = [error.lineno]
    where = text = ""
    if lines and lines[-1]:
        module = files.read(path)
        section, line = sections.place(module, lines[-1])
        text = "\n    " + module.split("\n")[lines[-1] - 1].strip()
        if section == exercise_id:  # the magic is the cell's first line, and blank lines after it are not stored
            where = f" Line {line + 1 + len(cell) - len(cell.lstrip(chr(10)))} of the cell:"
        else:
            where = f" Line {line} of {section or 'the head'} in {path.name}:"
    message = f"{type(error).__name__}: {error}".removesuffix(": ")
    return f"{exercise_id} was not stored, your module is as it was.{where} {message}{text}"


def _shell() -> Any:
    from IPython.core.getipython import get_ipython

    return get_ipython()
