"""How checks are run and what a report says."""

from collections.abc import Callable
from pathlib import Path

import pytest

from labserve import assembly, checking
from labserve.checking import Mismatch, Report, Result, expect
from labserve.errors import LabserveError
from labserve.journal import Journal, Standing
from labserve.probe import Outcome, Probe, Raised, Reply, Request
from labserve.workspace import Workspace

from . import tiny as workbook


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    return workbook.make(tmp_path, monkeypatch)


@pytest.fixture
def run(tiny: Workspace, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Report]:
    """Checks an answer to 1.2, which is worth three points, with some parts."""

    def run(*parts: Callable[[Probe], None], answer: str = "a = 1", limit: float = 5.0) -> Report:
        workbook.check_with(monkeypatch, {"1.2": list(parts)}, limit)
        assembly.work_on(tiny, "first")
        tiny.begin(tiny.workbook.chapters[0])
        tiny.path("first").write_text(f"# exercise 1.1\n\n\n# exercise 1.2\n{answer}\n")
        return checking.run(tiny, tiny.workbook.exercise("1.2"), seed=1)

    return run


def passes(probe: Probe) -> None:
    """the one
    that passes"""


def fails(probe: Probe) -> None:
    """the one that fails"""
    expect(False, sent="this", got="that", expected="more", cause="haste")


def fails_too(probe: Probe) -> None:
    """the other one that fails"""
    expect(False, sent="x", got="y", expected="z")


def test_each_part_has_its_line_and_the_first_that_fails_its_story(run: Callable[..., Report]) -> None:
    report = run(passes, fails, fails_too)
    assert not report.ok
    assert (report.passed, report.points) == (1, 1.0)
    assert list(report.lines()) == [
        "✓ the one that passes",
        "✗ the one that fails",
        "    sent:         this",
        "    got:          that",
        "    expected:     more",
        "    likely cause: haste",
        "✗ the other one that fails",
        "1.2 Count: 1 of 3 points. Mend the first line marked ✗, or ask hint('1.2').",
    ]


def test_a_share_of_the_points_for_each_part(run: Callable[..., Report]) -> None:
    assert run(passes, passes).points == 3
    assert run(passes, fails).points == 1.5
    assert run(fails).points == 0
    report = run(*[passes] * 2, *[fails] * 5)
    assert report.points == 0.86
    assert "0.86 of 3 points" in report.summary()


def test_a_stub_earns_nothing_whatever_it_lets_pass(run: Callable[..., Report], tiny: Workspace) -> None:
    report = run(passes, fails, answer=tiny.stub("1.2"))
    assert (report.points, report.ok) == (0, False)
    assert "It is still the stub" in report.summary()
    assert not run(passes, answer=tiny.stub("1.2")).ok


def test_a_report_is_recorded(run: Callable[..., Report], tiny: Workspace) -> None:
    exercise = tiny.workbook.exercise("1.2")
    run(passes, fails)
    assert Journal(tiny).standing(exercise) is Standing.FAILING
    run(passes, passes)
    assert Journal(tiny).standing(exercise) is Standing.PASSED
    assert [event.detail.split()[0] for event in Journal(tiny).events("1.2", "check")] == ["1/2", "2/2"]


def test_a_text_of_several_lines_stays_in_its_column(tiny: Workspace) -> None:
    story = Mismatch(sent="a\nb", got="c", expected="d")
    lines = list(Report(tiny.workbook.exercise("1.2"), [Result("title", story, 0.1)]).lines())
    assert lines[1] == "    sent:         a\n                  b"


def test_a_stub_that_was_reached_is_the_cause(run: Callable[..., Report]) -> None:
    def by_call(probe: Probe) -> None:
        outcome = probe.call("first.count", [1])
        expect(outcome.value == 1, sent="count([1])", got=outcome, expected="1", cause="not this one")

    stub = "def count(numbers):\n    raise NotImplementedError({})"
    for text, cause in (("'exercise 1.2'", "exercise 1.2 is still a stub"), ("", "this part is still a stub")):
        (result,) = run(by_call, answer=stub.format(text)).results
        assert result.mismatch.cause == f"{cause}: write it, run its cell, and check again"
    (result,) = run(by_call, answer="def count(numbers): raise ValueError(numbers)").results
    assert result.mismatch.cause == "not this one"
    (result,) = run(by_call, answer="raise NotImplementedError('exercise 1.1')").results
    assert "exercise 1.1 is still a stub" in result.mismatch.cause


def test_a_stub_met_by_a_request_or_by_the_start_is_the_cause(run: Callable[..., Report]) -> None:
    def by_request(probe: Probe) -> None:
        reply = probe.send(Request("GET", "/"))
        expect(reply.status == 200, sent="GET /", got=reply, expected="200", cause="not this one")

    head = "from fastapi import APIRouter\nrouter = APIRouter()\n"
    router = f"{head}@router.get('/')\ndef root(): raise NotImplementedError('it')"
    (result,) = run(by_request, answer=router).results
    assert result.mismatch.cause.startswith("it is still a stub")
    (result,) = run(by_request, answer="def install(app): raise NotImplementedError('install')").results
    assert result.mismatch.cause.startswith("install is still a stub")
    assert result.mismatch.sent == "GET /"


def test_a_module_that_cannot_be_put_into_the_service_is_told(run: Callable[..., Report]) -> None:
    def by_request(probe: Probe) -> None:
        probe.send(Request("GET", "/"))

    for answer in ("1 / 0", "def install(app): 1 / 0", "router = 3"):
        (result,) = run(by_request, answer=answer).results
        assert result.mismatch.expected == "a module that can be put into the service"
        assert "the module raises while it is loaded or added to the app" in result.mismatch.cause
    (result,) = run(by_request, answer="def install(app): 1 / 0").results
    assert "ZeroDivisionError: division by zero (first.py, line 5: def install(app): 1 / 0)" in result.mismatch.got


UNFORESEEN = {
    "a missing key": lambda value: value["predictions"][0],
    "an index": lambda value: [][1],
    "an attribute": lambda value: value.shape,
    "arithmetic": lambda value: 1 / 0,
    "an assertion": lambda value: (_ for _ in ()).throw(AssertionError("x")),
    "a file": lambda value: (_ for _ in ()).throw(OSError("cannot identify image file")),
    "recursion": lambda value: (_ for _ in ()).throw(RecursionError("deep")),
}


@pytest.mark.parametrize("reads", UNFORESEEN)
def test_a_shape_that_the_check_did_not_foresee_is_a_mismatch(run: Callable[..., Report], reads: str) -> None:
    def part(probe: Probe) -> None:
        """reads it"""
        UNFORESEEN[reads](probe.call("first.a").value)

    report = run(part, passes)
    assert (report.passed, report.points) == (1, 1.5)
    assert "an answer that cannot be read (" in report.results[0].mismatch.got
    assert report.results[0].mismatch.cause


def test_what_is_not_the_answer_s_fault_is_no_mismatch(run: Callable[..., Report]) -> None:
    def part(probe: Probe) -> None:
        raise LabserveError("the disk is full")

    with pytest.raises(LabserveError, match="the disk is full"):
        run(part)


def test_an_answer_out_of_time_is_told_with_what_was_asked(run: Callable[..., Report]) -> None:
    def waits(probe: Probe) -> None:
        probe.call("first.wait", 3, name="x")

    def requests(probe: Probe) -> None:
        probe.together([Request("GET", "/slow", params={"a": 1})] * 3)

    def quick(probe: Probe) -> None:
        expect(probe.call("first.quick").value == 1, sent="quick()", got="", expected="1")

    answer = """
import asyncio
from fastapi import APIRouter
router = APIRouter()
async def wait(n, name): await asyncio.Event().wait()
def quick(): return 1
@router.get("/slow")
async def slow(): await asyncio.Event().wait()
"""
    report = run(waits, requests, quick, answer=answer, limit=0.2)
    assert [result.passed for result in report.results] == [False, False, True]
    stories = [result.mismatch for result in report.results[:2]]
    assert [story.sent for story in stories] == ["first.wait(3, name='x')", "GET /slow?a=1 and 2 more"]
    assert stories[0].got == "no answer in 0.2 seconds"
    assert "a loop without an end" in stories[0].cause


def test_after_one_part_out_of_time_the_others_have_two_seconds(
    tiny: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = []

    def part(probe: Probe) -> None:
        limits.append(probe.limit)
        if len(limits) == 2:
            raise TimeoutError("slow()")

    workbook.check_with(monkeypatch, {"1.2": [part] * 4}, limit=7.0)
    checking.run(tiny, tiny.workbook.exercise("1.2"))
    assert limits == [7.0, 7.0, 2.0, 2.0]


def test_a_check_draws_the_same_for_the_same_seed(tiny: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    workbook.check_with(monkeypatch, {"1.2": [lambda probe: drawn.append(probe.rng.random())]})
    for seed in (1, 1, 2, None, None):
        checking.run(tiny, tiny.workbook.exercise("1.2"), seed=seed)
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 4


def test_checks_register_in_the_order_in_which_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "_PARTS", {})
    assert checking.check("1.1")(passes) is passes
    checking.check("1.1", limit=3)(fails)
    assert dict(checking._PARTS) == {"1.1": [(passes, 10.0), (fails, 3)]}


def test_an_exercise_without_a_check_is_one_line(tiny: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    workbook.check_with(monkeypatch, {})
    with pytest.raises(LabserveError, match=r"Exercise 1\.2 has no check in labserve/checks/first\.py"):
        checking.run(tiny, tiny.workbook.exercise("1.2"))


def test_how_requests_replies_and_outcomes_read() -> None:
    request = Request(
        "POST",
        "/predict",
        params={"top_k": 3},
        json={"a": "b" * 1000},
        files={"file": ("cat.jpg", b"x" * 2000, "image/jpeg")},
    )
    text = str(request)
    assert text.startswith("POST /predict?top_k=3 with the JSON {'a': 'bbb")
    assert text.endswith(" … with file='cat.jpg' (2,000 bytes, image/jpeg)")
    assert str(Request("POST", "/", chunks=[b"ab"])) == "POST / with a body of 2 bytes in 1 chunk"
    assert str(Request("POST", "/", chunks=[b"a", b"b"])) == "POST / with a body of 2 bytes in 2 chunks"
    raised = Raised("ValueError", "bad", "first.py, line 3: x")
    assert str(Reply(500, {}, b"no", 0.1, raised)) == (
        "500 no, because the app raised ValueError: bad (first.py, line 3: x)"
    )
    assert str(Reply(200, {}, b"\xff" * 1000, 0.1)).endswith("\ufffd …")
    assert str(Outcome(error=Raised("KeyError", ""))) == "KeyError"
    assert str(Outcome(["a"])) == "['a']"
