"""The manifest: `notebooks/workbook.toml`, the one list of chapters and exercises."""

import re
import tomllib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from labserve.errors import LabserveError

Text = Annotated[str, Field(min_length=1)]


class ManifestError(LabserveError):
    """The manifest is wrong; the message names the file, the line and the fault."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Exercise(_Entry):
    """One exercise. `id` is "chapter.number", `minutes` an estimate for a student, `points` what a full pass earns."""

    id: Annotated[str, Field(pattern=r"^[1-9]\.[1-9]$")]
    title: Text
    objective: Text
    points: Annotated[int, Field(ge=1)]
    minutes: Annotated[int, Field(ge=1, le=30)]
    hints: Annotated[list[Text], Field(min_length=2)]


class Chapter(_Entry):
    """One chapter: a notebook, the module that is written in it, and its exercises in order."""

    number: Annotated[int, Field(ge=1, le=9)]
    title: Text
    notebook: Text
    module: Annotated[str, Field(pattern=r"^[a-z_]+$")]
    exercises: Annotated[list[Exercise], Field(alias="exercise", min_length=1)]

    @property
    def quiz(self) -> str:
        """The file name of the chapter's quiz, under `quizzes/`."""
        return Path(self.notebook).with_suffix(".json").name


class Workbook(_Entry):
    """The whole workbook, chapters in the order in which they are worked and assembled."""

    chapters: Annotated[list[Chapter], Field(alias="chapter", min_length=1)]

    @model_validator(mode="after")
    def _each_once(self) -> "Workbook":
        seen = set()
        for what, name, at in self._names():
            context = {"what": what, "name": name, "at": at}
            if (what, name) in seen:
                raise PydanticCustomError("workbook", "duplicate {what} {name}", context)
            seen.add((what, name))
            if what == "exercise id" and name[0] != str(self.chapters[at[1]].number):
                raise PydanticCustomError("workbook", "{what} {name} stands in another chapter", context)
        return self

    def _names(self) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
        """What must be there once: its kind, its name, and its place as pydantic tells one."""
        for index, chapter in enumerate(self.chapters):
            at = ("chapter", index)
            yield "chapter number", str(chapter.number), (*at, "number")
            yield "notebook", chapter.notebook, (*at, "notebook")
            yield "module", chapter.module, (*at, "module")
            for place, exercise in enumerate(chapter.exercises):
                yield "exercise id", exercise.id, (*at, "exercise", place, "id")

    @cached_property
    def exercises(self) -> list[Exercise]:
        return [exercise for chapter in self.chapters for exercise in chapter.exercises]

    @cached_property
    def modules(self) -> list[str]:
        """Module names in the order in which the service is assembled."""
        return [chapter.module for chapter in self.chapters]

    def chapter(self, number: int) -> Chapter:
        """The chapter with this number; LabserveError names the chapters there are."""
        for chapter in self.chapters:
            if chapter.number == number:
                return chapter
        known = ", ".join(str(chapter.number) for chapter in self.chapters)
        raise LabserveError(f"There is no chapter {number}. Chapters: {known}.")

    def chapter_of(self, exercise_id: str) -> Chapter:
        return self.chapter(int(self.exercise(exercise_id).id.split(".")[0]))

    def exercise(self, exercise_id: str) -> Exercise:
        """The exercise with this id; LabserveError lists the ids of its chapter, or of all."""
        for exercise in self.exercises:
            if exercise.id == exercise_id:
                return exercise
        ids = [exercise.id for exercise in self.exercises]
        if not exercise_id:
            raise LabserveError(f"Name an exercise, such as {ids[0]}. There are {', '.join(ids)}.")
        near = [other for other in ids if other.split(".")[0] == exercise_id.split(".")[0]] or ids
        raise LabserveError(f"There is no exercise {exercise_id!r}. Did you mean one of {', '.join(near)}?")


def load(path: Path, reference: Path | None = None) -> Workbook:
    """Read and validate a manifest.

    `reference` is the folder of the reference modules; given it, a chapter whose module has no file there is an
    error. Raises ManifestError with the file, the line and the fault.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror}); is this the labserve folder?") from None
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}:{error.object[: error.start].count(10) + 1}: not UTF-8 text") from None
    try:
        workbook = Workbook.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        found = re.search(r" \(at line (\d+),", str(error))
        line = int(found[1]) if found else len(text.splitlines())
        raise ManifestError(f"{path}:{line}: not valid TOML: {error}") from None
    except ValidationError as error:
        fault = error.errors()[0]
        loc = fault.get("ctx", {}).get("at", fault["loc"])
        where = ".".join(str(step) for step in loc)
        raise ManifestError(f"{path}:{_line(text, loc)}: {where}: {fault['msg']}") from None
    for index, chapter in enumerate(workbook.chapters):
        if reference and not (reference / f"{chapter.module}.py").exists():
            raise ManifestError(
                f"{path}:{_line(text, ('chapter', index, 'module'))}: unknown module {chapter.module!r}: "
                f"no {chapter.module}.py in {reference}"
            )
    return workbook


def _line(text: str, loc: tuple[Any, ...]) -> int:
    """The line of the entry that `loc` leads to, such as ("chapter", 1, "exercise", 0, "title").

    tomllib keeps no line numbers, so tables are counted. For a key that is missing it is the head of its table.
    """
    lines: dict[tuple[Any, ...], int] = {}
    last: dict[tuple[Any, ...], int] = {}
    table: tuple[Any, ...] = ()
    for number, line in enumerate(text.split("\n"), 1):
        if head := re.match(r"\s*\[\[?\s*([\w.]+)\s*\]", line):
            *outer, name = head[1].split(".")
            table = ()
            for step in outer:
                table = (*table, step, last.get((*table, step), 0))
            table = (*table, name)
            lines.setdefault(table, number)
            last[table] = last.get(table, -1) + 1
            table = (*table, last[table])
            lines[table] = number
        elif key := re.match(r"\s*([\w-]+)\s*=", line):
            lines.setdefault((*table, key[1]), number)
    return next((lines[loc[:end]] for end in range(len(loc), 0, -1) if loc[:end] in lines), 1)
