"""Modules as text: splitting them into sections and joining them again."""

import ast

import pytest

from labserve import sections

MODULE = '''"""Head."""

import os
import numpy as np
from typing import Any, Literal


# exercise 2.1
A = Literal["a"]


# exercise 2.2
def name() -> Any:
    return os.path.sep  # exercise 2.3
'''


def test_split_and_join_are_each_other_s_reverse() -> None:
    head, found = sections.split(MODULE)
    assert list(found) == ["2.1", "2.2"]
    assert found["2.1"] == 'A = Literal["a"]'
    assert sections.join(head, found) == MODULE


def test_join_puts_the_sections_in_order_whatever_the_order_of_writing() -> None:
    text = sections.join('"""Head."""', {"2.2": "b = 2", "2.1": "\n\na = 1\n\n"})
    assert text == '"""Head."""\n\n\n# exercise 2.1\na = 1\n\n\n# exercise 2.2\nb = 2\n'
    assert sections.join("", {"2.1": "a = 1"}) == "# exercise 2.1\na = 1\n"


def test_a_section_that_is_there_twice_loses_nothing() -> None:
    assert sections.split("# exercise 1.1\na = 1\n# exercise 1.2\nb = 2\n# exercise 1.1\nc = 3\n")[1] == {
        "1.1": "a = 1\n\n\nc = 3",
        "1.2": "b = 2",
    }


@pytest.mark.parametrize(
    "body", ["", "    ", "# only a comment", "a = 1  ", "\ta = 1\n", "a = 1\n\n\nb = 2", "ä = '\x0c'"]
)
def test_odd_bodies_survive(body: str) -> None:
    head, found = sections.split(sections.join("", {"1.1": body, "1.2": "b = 2"}))
    assert (head, found) == ("", {"1.1": body.strip("\n"), "1.2": "b = 2"})


@pytest.mark.parametrize(
    ("text", "is_mark"),
    [
        ("# exercise 1.1", True),
        ("a = 1\n# exercise 1.1  \n", True),
        (" # exercise 1.1", False),
        ("# exercise 1.1: greet", False),
        ("#exercise 1.1", False),
        ("# exercise 11.1", False),
        ("a = 1  # exercise 1.1", False),
    ],
)
def test_only_a_line_of_its_own_is_a_mark(text: str, is_mark: bool) -> None:
    assert sections.has_mark(text) is is_mark


def test_the_place_of_a_line() -> None:
    lines = MODULE.split("\n")
    assert sections.place(MODULE, 3) == ("", 3)
    assert sections.place(MODULE, lines.index('A = Literal["a"]') + 1) == ("2.1", 1)
    assert sections.place(MODULE, lines.index("def name() -> Any:") + 2) == ("2.2", 2)


def test_an_answer_brings_the_imports_that_it_uses_and_no_others() -> None:
    assert sections.answer(MODULE, "2.1") == 'from typing import Literal\n\n\nA = Literal["a"]'
    assert sections.answer(MODULE, "2.2").startswith("import os\nfrom typing import Any\n\n\ndef name()")
    assert sections.answer("# exercise 1.1\na = 1\n", "1.1") == "a = 1"
    with pytest.raises(KeyError):
        sections.answer(MODULE, "2.3")


def test_public_names() -> None:
    source = """
import os
from typing import Any as Anything
A, (B, *C) = 1, (2, 3)
D: int = 4
E: int
_F = 5
app.state.g = A
h[A] = 1
def i(): j = 1
async def k(): ...
class L:
    m = 1
"""
    ast.parse(source)
    assert sections.public_names(source) == {"A", "B", "C", "D", "E", "i", "k", "L"}
