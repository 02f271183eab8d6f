"""The chapters' quizzes, the faults that `load` names, the terminal dialogue, and the page in a notebook."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labserve import quizzes
from labserve.quizzes import QuizError, Score, ask, load

from .conftest import WORKBOOK

FILES = sorted((Path(__file__).parents[1] / "notebooks" / "quizzes").glob("*.json"))


def choice(text: str, correct: bool = False) -> dict[str, Any]:
    return {"answer": text, "correct": correct, "feedback": f"Why {text}."}


ONE = {
    "question": "Which `<b>` is [it](x)?",
    "type": "multiple_choice",
    "code": "a < b",
    "answers": [choice("first"), choice("second", True), choice("third")],
}
MANY = {
    "question": "Which are even?",
    "type": "many_choice",
    "answers": [choice("two", True), choice("three"), choice("four", True)],
}


@pytest.fixture
def quiz(tmp_path: Path) -> Path:
    path = tmp_path / "quiz.json"
    path.write_text(json.dumps([ONE, MANY]))
    return path


# The files


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_chapter_has_five_to_eight_questions_and_no_give_away(path: Path) -> None:
    questions = load(path)
    assert 5 <= len(questions) <= 8
    single = [question for question in questions if question.type == "multiple_choice"]
    places = [[answer.correct for answer in question.answers].index(True) for question in single]
    assert len(set(places)) >= 3, "the right answer stands in the same places"
    for extreme in (max, min):
        lengths = [[len(answer.answer) for answer in question.answers] for question in single]
        telling = sum(each[place] == extreme(each) for each, place in zip(lengths, places, strict=True))
        assert telling <= len(single) / 2, f"the right answer is told by its {extreme.__name__} length"


def test_every_chapter_has_a_quiz() -> None:
    assert {path.name for path in FILES} == {chapter.quiz for chapter in WORKBOOK.chapters}


FAULTS = {
    "no feedback": ({"answers": [choice("a", True), {"answer": "b", "correct": False}, choice("c")]},
                    "question 2, answer b, feedback: Field required"),
    "empty feedback": ({"answers": [choice("a", True), choice("b") | {"feedback": " "}, choice("c")]},
                       "question 2, answer b, feedback: is empty"),
    "two right": ({"answers": [choice("a", True), choice("b", True), choice("c")]},
                  "question 2: multiple_choice needs exactly one right answer, this has 2"),
    "none right": ({"answers": [choice("a"), choice("b"), choice("c")]},
                   "question 2: multiple_choice needs exactly one right answer, this has 0"),
    "many, none right": ({"type": "many_choice", "answers": [choice("a"), choice("b"), choice("c")]},
                         "question 2: many_choice needs right and wrong answers, 0 of these are right"),
    "many, all right": ({"type": "many_choice", "answers": [choice(x, True) for x in "abc"]},
                        "question 2: many_choice needs right and wrong answers, 3 of these are right"),
    "same answer": ({"answers": [choice("Yes", True), choice("b"), choice("yes ")]},
                    "question 2: answers a and c are the same"),
    "same question": (ONE, "question 2: is the same as question 1"),
    "two choices": ({"answers": [choice("a", True), choice("b")]},
                    "question 2, answers: List should have at least 3 items after validation, not 2"),
    "dollar": ({"answers": [choice("a", True), choice("b"), choice("5 $")]},
               'question 2, answer c, answer: holds "$", which jupyterquiz takes for LaTeX'),
    "backtick": ({"question": "What is `x?"}, "question 2, question: has a backtick without a partner"),
    "type": ({"type": "numeric"}, "question 2, type: Input should be 'multiple_choice' or 'many_choice'"),
    "misspelled": ({"feedbck": "x"}, "question 2, feedbck: Extra inputs are not permitted"),
    "not a bool": ({"answers": [choice("a") | {"correct": "yes"}, choice("b"), choice("c")]},
                   "question 2, answer a, correct: Input should be a valid boolean"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named_in_one_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(json.dumps([ONE, ONE | {"question": "Another?"} | change]))
    with pytest.raises(QuizError) as error:
        load(path)
    assert str(error.value) == f"{path}: {message}"


@pytest.mark.parametrize(
    ("content", "message"),
    [("[{", "Invalid JSON"), ("{}", "valid array"), ("[]", "at least 1 item"), (None, "cannot be read")],
)
def test_a_file_that_is_no_quiz_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "broken.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(QuizError, match=message) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


# The terminal


class Dialogue:
    """Plays a person who types `replies` one after the other, then ends the input."""

    def __init__(self, *replies: str) -> None:
        self.replies = iter(replies)
        self.said: list[str] = []

    def answer(self, prompt: str) -> str:
        self.said.append(prompt)
        try:
            return next(self.replies)
        except StopIteration:
            raise EOFError from None

    def with_(self, path: Path) -> Score:
        return ask(load(path), answer=self.answer, say=self.said.append)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.said).split())


def test_right_answers_count_and_are_explained(quiz: Path) -> None:
    dialogue = Dialogue("b", "a c")
    assert dialogue.with_(quiz) == Score(right=2, total=2, finished=True)
    assert "1/2 Which `<b>` is [it](x)?" in dialogue.text
    assert "a < b a) first b) second c) third" in dialogue.text
    assert "b) Right. Why second." in dialogue.text
    assert "2/2 Which are even? Choose all that apply." in dialogue.text
    assert "a) Right. Why two. c) Right. Why four." in dialogue.text
    assert "The right answer" not in dialogue.text


def test_a_wrong_answer_is_explained_and_the_right_one_shown(quiz: Path) -> None:
    dialogue = Dialogue("a", "a b")
    assert dialogue.with_(quiz) == Score(right=0, total=2, finished=True)
    assert "a) Not quite. Why first. The right answer: b b) Why second." in dialogue.text
    assert "a) Right. Why two. b) Not quite. Why three. The right answer: a c c) Why four." in dialogue.text


@pytest.mark.parametrize("reply", ["A, C", "c a", "ac", " a  c "])
def test_letters_are_read_in_any_usual_form(quiz: Path, reply: str) -> None:
    assert Dialogue(" B ", reply).with_(quiz) == Score(2, 2, finished=True)


@pytest.mark.parametrize(
    ("senseless", "hint"),
    [("", "one letter, a to c"), ("d", "a b c"), ("second", "q leaves"), ("a b", "one letter")],
)
def test_a_senseless_answer_is_asked_again_with_a_hint(quiz: Path, senseless: str, hint: str) -> None:
    dialogue = Dialogue(senseless, "b", "", "b 2", "a c")
    assert dialogue.with_(quiz) == Score(2, 2, finished=True)
    assert hint in next(line for line in dialogue.said if line.startswith("Please answer"))
    assert "Please answer with one or more letters, such as a c." in dialogue.text


def test_leaving_keeps_what_was_answered(quiz: Path) -> None:
    assert Dialogue("b", "Q").with_(quiz) == Score(right=1, total=2, finished=False)
    assert Dialogue("b").with_(quiz) == Score(right=1, total=2, finished=False)  # end of input
    assert Dialogue("q").with_(quiz) == Score(right=0, total=2, finished=False)


# The notebook


@pytest.fixture
def page(tmp_path: Path, quiz: Path) -> Iterator[tuple[str, str]]:
    """What `display` sends to the notebook: the HTML and the JavaScript."""
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output
    from traitlets.config import Config

    config = Config({"HistoryManager": {"enabled": False}})
    InteractiveShell.instance(config=config, ipython_dir=str(tmp_path))
    try:
        with capture_output() as captured:
            quizzes.display(quiz)
        markup, script = (output.data for output in captured.outputs)
        yield markup["text/html"], script["application/javascript"]
    finally:
        InteractiveShell.clear_instance()


def test_the_page_holds_the_questions_as_plain_text(page: tuple[str, str]) -> None:
    _, script = page
    shown = json.loads(re.search(r"var questions\w+=(\[.*\]);\n", script)[1])  # type: ignore[index]
    assert shown[0]["question"] == "Which <code>&lt;b&gt;</code> is &#91;it](x)?"
    assert shown[0]["code"] == "a &lt; b"
    assert [answer["answer"] for answer in shown[1]["answers"]] == ["two", "three", "four"]
    assert "Choose all that apply" in shown[1]["question"]


def test_the_page_names_no_outside_host(page: tuple[str, str]) -> None:
    assert not re.search(r"https?://", "".join(page))


# Enough of a browser for jupyterquiz's script: it notes each element that is made and each text that is set.
BROWSER = """
const made = [], texts = [];
class Element {
  constructor(tag) {
    made.push(tag);
    Object.assign(this, { dataset: {}, style: {}, classList: { add() {} } });
  }
  append() {} appendChild() {} setAttribute() {} getElementsByClassName() { return []; }
  set innerHTML(text) { texts.push(text); }
}
globalThis.window = globalThis;
globalThis.MathJax = { version: "3.2.2" };  // as JupyterLab leaves it behind
globalThis.document = {
  createElement: tag => new Element(tag), getElementById: () => container, head: new Element("head"),
};
globalThis.setTimeout = run => run();
globalThis.console = { log() {}, error() {} };
const container = new Element("div");
globalThis[ID] = container;
eval(SCRIPT);
process.stdout.write(JSON.stringify({ made, texts }));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node to run the page's script")
def test_the_script_shows_the_quiz_and_loads_nothing(page: tuple[str, str]) -> None:
    markup, script = page
    name = re.search(r'<div id="(\w+)"', markup)[1]  # type: ignore[index]
    code = f"const ID = {json.dumps(name)}, SCRIPT = {json.dumps(script)};\n{BROWSER}"
    run = subprocess.run(["node", "-e", code], capture_output=True, text=True, timeout=30, check=True)
    seen = json.loads(run.stdout)
    assert "script" not in seen["made"]
    assert "Why" not in "".join(seen["texts"])  # feedback waits for a click
    assert {"first", "second", "third", "two", "three", "four"} <= set(seen["texts"])


def luminance(colour: str) -> float:
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(
    ("front", "back"),
    [
        ("text-color", "multiple-choice-bg"),
        ("text-color", "many-choice-bg"),
        ("text-color", "correct-color"),  # a choice that was clicked
        ("text-color", "incorrect-color"),
        ("correct-color", "mc-button-bg"),  # feedback, on the same paper as the buttons
        ("incorrect-color", "mc-button-bg"),
    ],
)
def test_texts_stand_out(front: str, back: str) -> None:
    dark, light = sorted(luminance(quizzes.COLOURS[f"--jq-{name}"]) for name in (front, back))
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_outside_a_notebook_display_says_where_to_go(quiz: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: None)
    with pytest.raises(QuizError, match="`labserve quiz`"):
        quizzes.display(quiz)
