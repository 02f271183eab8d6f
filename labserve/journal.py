"""The progress file: one line an event, readable by people, only ever appended to.

    2026-11-23 17:42:43 <tab> 2.1 <tab> check <tab> 3/4 1f3a9c2b

A check's detail is the parts passed of all, and the fingerprint of the section that was checked; so a result counts
for the text that earned it, and an edit after it shows.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property

from labserve import files
from labserve.errors import LabserveError
from labserve.manifest import Chapter, Exercise
from labserve.workspace import Workspace

_CHECKED = re.compile(r"(\d+)/(\d+) ([0-9a-f]{8})")


class Standing(StrEnum):
    """Where an exercise stands."""

    NEW = "not started"
    FAILING = "not passed yet"
    EDITED = "edited since it passed"
    PASSED = "passed"


@dataclass(frozen=True)
class Event:
    """One line of the file. `name` is an exercise id, or "quiz 2"."""

    name: str
    kind: str
    detail: str


class Journal:
    """What the student of a workspace has done."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def record(self, name: str, kind: str, detail: str = "") -> None:
        line = f"{datetime.now():%Y-%m-%d %H:%M:%S}\t{name}\t{kind}\t{detail}\n"
        path = self.workspace.progress_file
        with files.writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a+b") as file:
                file.seek(max(file.tell() - 1, 0))
                if file.read() not in (b"", b"\n"):  # an editor took the last line's end
                    line = "\n" + line
                file.write(line.encode())
        self.__dict__.pop("_events", None)

    def record_check(self, exercise_id: str, passed: int, parts: int) -> None:
        self.record(exercise_id, "check", f"{passed}/{parts} {self.workspace.digest(exercise_id)}")

    def events(self, name: str, kind: str) -> list[Event]:
        return [event for event in self._events if event.name == name and event.kind == kind]

    def standing(self, exercise: Exercise) -> Standing:
        """By the latest check. A line that someone mangled counts as no line."""
        checks = [found for event in self.events(exercise.id, "check") if (found := _CHECKED.fullmatch(event.detail))]
        if not checks:
            return Standing.NEW
        passed, parts, digest = checks[-1].groups()
        if passed != parts:
            return Standing.FAILING
        return Standing.PASSED if digest == self.workspace.digest(exercise.id) else Standing.EDITED

    def passes(self, chapter: Chapter) -> bool:
        """Whether every exercise of the chapter has passed as it now stands."""
        return all(self.standing(exercise) is Standing.PASSED for exercise in chapter.exercises)

    def next_chapter(self) -> Chapter:
        """The first chapter with an exercise that has not passed; the last one when all have."""
        chapters = self.workspace.workbook.chapters
        return next((chapter for chapter in chapters if not self.passes(chapter)), chapters[-1])

    @cached_property
    def _events(self) -> list[Event]:
        """Every line that holds an event, as the file was when it was first asked for, or after the last `record`."""
        path = self.workspace.progress_file
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        except OSError as error:
            raise LabserveError(
                f"{path}: progress cannot be read ({error.strerror}). Move it out of the way."
            ) from None
        return [Event(*fields[1:]) for line in lines if len(fields := line.split("\t")) == 4]


def table(space: Workspace) -> Iterator[str]:
    """Where a student stands: a line a chapter and a line an exercise, then the sum."""
    progress, earned, total = Journal(space), 0, 0
    marks = {Standing.PASSED: "✓", Standing.FAILING: "✗", Standing.EDITED: "~", Standing.NEW: " "}
    for chapter in space.workbook.chapters:
        yield f"{chapter.number}. {chapter.title}"
        for exercise in chapter.exercises:
            standing = progress.standing(exercise)
            total += exercise.points
            earned += exercise.points if standing is Standing.PASSED else 0
            worth = f"{exercise.points} point{'s' * (exercise.points > 1)}"
            yield f"   {marks[standing]} {exercise.id} {exercise.title} ({worth}): {standing}"
    yield f"{earned} of {total} points from exercises that pass."
