"""Chapter quizzes: read and check the questions, show them in a notebook, ask them in a terminal.

A quiz is a JSON list in jupyterquiz's format. Its texts are plain, with backticks around code: `display`
escapes them for HTML, so that `<b>` in a question is read as those three characters.
"""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import BaseModel, ConfigDict, Field, model_validator

from labserve.errors import LabserveError

LETTERS = "abcdefgh"
WIDTH = 88  # columns in the terminal

# White on dark boxes, dark on light buttons: at least 4.5:1 whatever the notebook's theme, light or dark.
PAPER = "#fafafa"
COLOURS = {
    "--jq-multiple-choice-bg": "#1f3a5f",
    "--jq-many-choice-bg": "#4a2c6b",
    "--jq-text-color": "#ffffff",
    "--jq-mc-button-bg": PAPER,
    "--jq-mc-button-border": "#767676",
    "--jq-correct-color": "#0b6b2e",
    "--jq-incorrect-color": "#b3261e",
}
# jupyterquiz prints feedback on the bare page, where no one green is legible in both themes: it gets paper of
# its own, and words, since colour alone does not reach everyone. JupyterLab's rules for code outrank those of
# jupyterquiz and would bring the theme's colours into the boxes; hence `!important`.
STYLE = f"""
.labserve-quiz .Quiz, .labserve-quiz .MCButton, .labserve-quiz .Feedback {{
  font-size: 15px; line-height: 1.45;
}}
.labserve-quiz pre, .labserve-quiz pre code {{ font-size: 14px; }}
.labserve-quiz pre, .labserve-quiz code {{
  background: transparent !important; color: inherit !important; padding: 0 !important;
}}
.labserve-quiz .MCButton {{ justify-content: start; text-align: left; }}
.labserve-quiz .MCButton:focus-within {{ outline: 3px solid #4a90d9; }}
.labserve-quiz .MCButton .sr-only {{ position: absolute; opacity: 0; }}
.labserve-quiz .Feedback:not(:empty) {{
  background: {PAPER}; border-radius: 10px; padding: 10px; text-align: left;
}}
.labserve-quiz .Feedback.correct::before {{ content: "Right. "; font-weight: bold; }}
.labserve-quiz .Feedback.incorrect::before {{ content: "Not quite. "; font-weight: bold; }}
"""


class QuizError(LabserveError):
    """A quiz file cannot be used; the message is one line that names the file, the question and the fault."""


def _legible(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    if "$" in text:
        raise ValueError('holds "$", which jupyterquiz takes for LaTeX')
    return text


def _prose(text: str) -> str:
    if text.count("`") % 2:
        raise ValueError("has a backtick without a partner")
    return text


Code = Annotated[str, pydantic.AfterValidator(_legible)]
Text = Annotated[Code, pydantic.AfterValidator(_prose)]


class Answer(BaseModel):
    """One choice, and what a person who takes it should learn."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    answer: Text
    correct: bool
    feedback: Text


class Question(BaseModel):
    """Three to eight choices: exactly one is right (`multiple_choice`), or some are (`many_choice`)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    question: Text
    type: Literal["multiple_choice", "many_choice"]
    code: Code | None = None
    answers: list[Answer] = Field(min_length=3, max_length=len(LETTERS))

    @model_validator(mode="after")
    def _answerable(self) -> Self:
        right = sum(answer.correct for answer in self.answers)
        if self.type == "multiple_choice" and right != 1:
            raise ValueError(f"multiple_choice needs exactly one right answer, this has {right}")
        if right in (0, len(self.answers)):
            raise ValueError(f"many_choice needs right and wrong answers, {right} of these are right")
        if twice := _twice([answer.answer for answer in self.answers]):
            raise ValueError(f"answers {LETTERS[twice[0]]} and {LETTERS[twice[1]]} are the same")
        return self


@dataclass(frozen=True)
class Score:
    """`right` answers of `total` questions; `finished` is False for someone who left before the last."""

    right: int
    total: int
    finished: bool


def _twice(texts: Sequence[str]) -> tuple[int, int] | None:
    """The positions of the first two texts that differ in case and white space at most."""
    seen: dict[str, int] = {}
    for position, text in enumerate(texts):
        first = seen.setdefault(" ".join(text.split()).casefold(), position)
        if first != position:
            return first, position
    return None


def _fault(error: pydantic.ValidationError) -> str:
    """The first thing pydantic found, with its place in words: `question 3, answer b, feedback: is empty`."""
    first = error.errors(include_url=False)[0]
    place = [str(part) for part in first["loc"]]
    if place:
        place[0] = f"question {int(place[0]) + 1}"
    if len(place) > 2:
        place[1:3] = [f"answer {LETTERS[int(place[2])]}" if int(place[2]) < len(LETTERS) else place[2]]
    message = first["msg"].removeprefix("Value error, ")
    return " ".join(f"{', '.join(place)}: {message}".removeprefix(": ").split())


def load(path: Path) -> list[Question]:
    """Read the quiz at `path`.

    Raises:
        QuizError: the file cannot be read, is not JSON, breaks a rule of `Question`, or repeats a question.
    """
    quiz = pydantic.TypeAdapter(Annotated[list[Question], Field(min_length=1)])
    try:
        questions = quiz.validate_json(path.read_bytes())
    except OSError as error:
        raise QuizError(f"{path}: cannot be read: {error.strerror}") from error
    except pydantic.ValidationError as error:
        raise QuizError(f"{path}: {_fault(error)}") from error
    if twice := _twice([f"{question.question} {question.code}" for question in questions]):
        raise QuizError(f"{path}: question {twice[1] + 1}: is the same as question {twice[0] + 1}")
    return questions


def _html(text: str) -> str:
    """Plain text as HTML. jupyterquiz would take `[a](b)` for a link, so brackets are spelled out."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text, quote=False)).replace("[", "&#91;")


def _for_jupyterquiz(question: Question) -> dict[str, Any]:
    hint = " <em>Choose all that apply.</em>" if question.type == "many_choice" else ""
    return {
        "question": _html(question.question) + hint,
        "type": question.type,
        **({"code": html.escape(question.code, quote=False)} if question.code else {}),
        "answer_cols": 1,
        "answers": [
            {"answer": _html(each.answer), "correct": each.correct, "feedback": _html(each.feedback)}
            for each in question.answers
        ],
    }


def display(path: Path) -> None:
    """Show the quiz at `path` below the notebook cell that calls this; nothing is fetched from anywhere.

    Raises:
        QuizError: see `load`; also outside IPython, where there is nothing to show it in.
    """
    questions = [_for_jupyterquiz(question) for question in load(path)]

    from IPython.core.getipython import get_ipython
    from IPython.utils.capture import capture_output
    from jupyterquiz import display_quiz  # type: ignore[import-untyped]

    if get_ipython() is None:
        raise QuizError(f"{path}: shows in a notebook only; in a terminal, `labserve quiz` asks the same.")
    with capture_output(stdout=False, stderr=False) as captured:
        display_quiz(questions, shuffle_answers=False, max_width=760, colors=COLOURS)
    page, script = (output.data for output in captured.outputs)
    page["text/html"] = f'<div class="labserve-quiz"><style>{STYLE}</style>{page["text/html"]}</div>'

    # Once JupyterLab has rendered a formula, jupyterquiz adds a <script> to load MathJax from a CDN, and no
    # option prevents it. A quiz holds no formulas, so its code runs where MathJax is an undefined name and
    # never enters that branch. The address goes too, so that a saved notebook names no outside host.
    code = re.sub(r"(?<=script\.src = ')[^']*", "", script["application/javascript"])
    script["application/javascript"] = f"(function (MathJax) {{\n{code}\n}})();"
    captured.show()  # type: ignore[no-untyped-call]


def _wrap(text: str, lead: str = "") -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _choice(question: Question, answer: Callable[[str], str], say: Callable[[str], None]) -> set[str] | None:
    """The letters chosen, asked for until they make sense; None when the person leaves."""
    letters, many = LETTERS[: len(question.answers)], question.type == "many_choice"
    form = "one or more letters, such as a c" if many else f"one letter, a to {letters[-1]}"
    while True:
        try:
            reply = answer(f"Your answer ({form}; q leaves): ").strip().lower()
        except (EOFError, KeyboardInterrupt):
            return None
        if reply == "q":
            return None
        chosen = set(reply) - set(" ,")
        if chosen and chosen <= set(letters) and (many or len(chosen) == 1):
            return chosen
        say(f"Please answer with {form}. The choices are {' '.join(letters)}; q leaves the quiz.")


def ask(questions: Sequence[Question], *, answer: Callable[[str], str], say: Callable[[str], None]) -> Score:
    """Ask `questions` one by one, choices in the order of the file.

    Args:
        answer: gets a prompt and returns what was typed, as `input` does; "q", end of input and Ctrl-C leave.
        say: gets a text of one or more lines to show, as `print` does.

    Returns:
        The score so far, also for someone who leaves early. A many_choice question counts when its right
        choices, all of them and no other, were named.
    """
    right = 0
    for number, question in enumerate(questions, 1):
        choices = dict(zip(LETTERS, question.answers, strict=False))
        many = " Choose all that apply." if question.type == "many_choice" else ""
        say("\n" + _wrap(f"{question.question}{many}", f"{number}/{len(questions)} "))
        if question.code:
            say("\n" + textwrap.indent(question.code.strip("\n"), "      ") + "\n")
        for letter, choice in choices.items():
            say(_wrap(choice.answer, f"  {letter}) "))

        chosen = _choice(question, answer, say)
        if chosen is None:
            return Score(right, len(questions), finished=False)
        wanted = {letter for letter, choice in choices.items() if choice.correct}
        for letter in sorted(chosen):
            verdict = "Right" if letter in wanted else "Not quite"
            say(_wrap(f"{verdict}. {choices[letter].feedback}", f"  {letter}) "))
        if chosen == wanted:
            right += 1
        else:
            say(f"The right answer: {' '.join(sorted(wanted))}")
        for letter in sorted(wanted - chosen):
            say(_wrap(choices[letter].feedback, f"  {letter}) "))
    return Score(right, len(questions), finished=True)
