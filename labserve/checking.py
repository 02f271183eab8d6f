"""Checks: how they are written, and how they are run.

A check of an exercise is one or more functions in `labserve/checks/<module>.py`. Each tries one thing, says in its
docstring what, and uses the student's code through the probe alone:

    @check("1.2")
    def answers_health(probe: Probe) -> None:
        "GET /health answers 200"
        request = Request("GET", "/health")
        reply = probe.send(request)
        expect(reply.status == 200, sent=request, got=reply, expected="200", cause="the path is misspelt")
"""

import importlib
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from labserve import host as hosting
from labserve.errors import LabserveError
from labserve.journal import Journal
from labserve.manifest import Exercise
from labserve.probe import CannotAsk, Outcome, Probe, Raised, Reply
from labserve.workspace import Workspace

Part = Callable[[Probe], None]

_PARTS: dict[str, list[tuple[Part, float]]] = {}


def check(exercise_id: str, *, limit: float = 10.0) -> Callable[[Part], Part]:
    """Register a function as one part of an exercise's check. `limit`: seconds that each thing it asks may take."""

    def register(part: Part) -> Part:
        _PARTS.setdefault(exercise_id, []).append((part, limit))
        return part

    return register


class Mismatch(Exception):
    """What was sent, what came back, what was expected, and the likely cause."""

    def __init__(self, *, sent: object, got: object, expected: object, cause: str = "") -> None:
        super().__init__(str(got))
        self.sent, self.got, self.expected, self.cause = str(sent), str(got), str(expected), cause


class OutOfTime(Mismatch):
    """What was asked took longer than it may."""


def expect(holds: bool, *, sent: object, got: object, expected: object, cause: str = "") -> None:
    """Raise Mismatch unless it holds. A stub that was reached is named as the cause."""
    if not holds:
        raise Mismatch(sent=sent, got=got, expected=expected, cause=_stub(got) or cause)


def _stub(got: object) -> str:
    error = got.error if isinstance(got, Reply | Outcome) else None
    return _stub_cause(error) if error else ""


def _stub_cause(error: Raised) -> str:
    if error.type != "NotImplementedError":
        return ""
    return f"{error.message or 'this part'} is still a stub: write it, run its cell, and check again"


@dataclass(frozen=True)
class Result:
    """One thing tried."""

    title: str
    mismatch: Mismatch | None
    seconds: float

    @property
    def passed(self) -> bool:
        return self.mismatch is None

    @property
    def late(self) -> bool:
        return isinstance(self.mismatch, OutOfTime)


@dataclass(frozen=True)
class Report:
    """All that was tried for an exercise. `untouched`: the answer is the stub as it was handed out."""

    exercise: Exercise
    results: list[Result]
    untouched: bool = False

    @property
    def passed(self) -> int:
        return sum(result.passed for result in self.results)

    @property
    def ok(self) -> bool:
        return self.passed == len(self.results) and not self.untouched

    @property
    def late(self) -> bool:
        """Whether an answer ran out of time; it may have left a thread that never ends."""
        return any(result.late for result in self.results)

    @property
    def points(self) -> float:
        """A share of the exercise's points for each part that passed; a stub earns none, whatever it lets pass."""
        return 0 if self.untouched else round(self.exercise.points * self.passed / len(self.results), 2)

    def lines(self) -> Iterator[str]:
        """The report as text: a line for each thing tried, and the whole story of the first that failed."""
        told = False
        for result in self.results:
            yield f"{'✓' if result.passed else '✗'} {result.title}"
            if result.mismatch and not told:
                told = True
                story = result.mismatch
                for label, text in {
                    "sent": story.sent,
                    "got": story.got,
                    "expected": story.expected,
                    "likely cause": story.cause,
                }.items():
                    if text:
                        yield f"    {label + ':':13} {text}".replace("\n", "\n" + 18 * " ")
        yield self.summary()

    def summary(self) -> str:
        head = f"{self.exercise.id} {self.exercise.title}: {self.points:g} of {self.exercise.points} points"
        if self.untouched:
            return f"{head}. It is still the stub: write it, run its cell, and check again."
        return head if self.ok else f"{head}. Mend the first line marked ✗, or ask hint({self.exercise.id!r})."


def folded(line: str) -> str:
    """A line of a report for a narrow page: a long one goes on in the column in which its text began."""
    indent = 18 if line.startswith("    ") else 2
    return textwrap.fill(line, 104, subsequent_indent=" " * indent, break_on_hyphens=False, replace_whitespace=False)


def parts(exercise: Exercise, module: str) -> list[tuple[Part, float]]:
    """The registered parts, in the order in which they are written."""
    importlib.import_module(f"labserve.checks.{module}")
    try:
        return _PARTS[exercise.id]
    except KeyError:
        raise LabserveError(f"Exercise {exercise.id} has no check in labserve/checks/{module}.py.") from None


def run(space: Workspace, exercise: Exercise, *, seed: int | None = None) -> Report:
    """Run the check of an exercise against the student's module, in this process, and record the result."""
    module = space.workbook.chapter_of(exercise.id).module
    space.begin(space.workbook.chapter_of(exercise.id))  # else the reference would be checked, and pass

    def loads(probe: Probe) -> None:
        probe.call(f"{module}.__name__")

    # Not counted: importing torch for the first time may take longer than any answer may.
    loaded = _try(space, module, loads, 120.0, seed)
    results: list[Result] = []
    for part, limit in parts(exercise, module):
        late = any(result.late for result in [loaded, *results])  # one long wait is enough
        results.append(_try(space, module, part, min(limit, 2.0) if late else limit, seed))
    untouched = space.section(exercise.id).strip() == space.stub(exercise.id).strip()
    report = Report(exercise, results, untouched)
    Journal(space).record_check(exercise.id, 0 if untouched else report.passed, len(results))
    return report


def _try(space: Workspace, module: str, part: Part, limit: float, seed: int | None) -> Result:
    started = time.perf_counter()
    with hosting.Host(space, module) as host:
        mismatch = _mismatch(part, Probe(host, seed=seed, limit=limit), limit)
    return Result(" ".join((part.__doc__ or part.__name__).split()), mismatch, time.perf_counter() - started)


def _mismatch(part: Part, probe: Probe, limit: float) -> Mismatch | None:
    try:
        part(probe)
    except Mismatch as mismatch:
        return mismatch
    except TimeoutError as error:
        return OutOfTime(
            sent=error,
            got=f"no answer in {limit:g} seconds",
            expected="an answer",
            cause="a loop without an end, or a wait for what does not come; if the kernel is slow now, restart it",
        )
    except CannotAsk as error:
        return Mismatch(
            sent=error.sent,
            got=error,
            expected=error.expected,
            cause=_stub_cause(error.error) or error.cause,
        )
    except LabserveError:
        raise
    except Exception as error:  # the check met a shape it did not foresee
        return Mismatch(
            sent="",
            got=f"an answer that cannot be read ({type(error).__name__}: {error})",
            expected="an answer of the form that the exercise describes",
            cause="a missing field, or a list where an object is asked for",
        )
    return None
