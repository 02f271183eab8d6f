"""A workbook of two small chapters, so that tests of the machinery stand apart from what the real chapters say."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from labserve import assembly, checking, manifest, places
from labserve.workspace import Workspace

MANIFEST = """\
# Two chapters.
[[chapter]]
number = 1
title = "First"
notebook = "01_first.ipynb"
module = "first"

[[chapter.exercise]]
id = "1.1"
title = "Greet"
objective = "Answer."
points = 1
minutes = 5
hints = ["Look at 1.2.", "Look again.", "Return it."]

[[chapter.exercise]]
id = "1.2"
title = "Count"
objective = "Add."
points = 3
minutes = 5
hints = [
  "One.",
  "Two.",
]

[[chapter]]
number = 2
title = "Second"
notebook = "02_second.ipynb"
module = "second"

[[chapter.exercise]]
id = "2.1"
title = "Build on the first"
objective = "Import."
points = 2
minutes = 5
hints = ["One.", "Two."]
"""

STUBS = {
    "1.1": "from fastapi import APIRouter\n\nrouter = APIRouter()\n\n\n"
    'def greet(name: str) -> str:\n    """Greet."""\n    raise NotImplementedError("exercise 1.1")',
    "1.2": 'def count(numbers: list[int]) -> int:\n    """Add."""\n    raise NotImplementedError("exercise 1.2")',
    "2.1": 'def shout(name: str) -> str:\n    """Build on the first."""\n    raise NotImplementedError("exercise 2.1")',
}

FIRST = '''"""The first chapter."""

from fastapi import APIRouter


# exercise 1.1
router = APIRouter()


@router.get("/whose")
def whose() -> str:
    return "reference"


def greet(name: str) -> str:
    """Greet."""
    return f"hello {name}"


# exercise 1.2
def count(numbers: list[int]) -> int:
    """Add."""
    return sum(numbers)
'''

SECOND = '''"""The second chapter."""

from .first import greet


# exercise 2.1
def shout(name: str) -> str:
    """Build on the first."""
    return greet(name).upper()
'''

SETTINGS = """from pydantic import BaseModel


class Settings(BaseModel):
    model: str = "small"
"""


def notebook(*cells: str) -> str:
    return json.dumps(
        {
            "cells": [
                {"cell_type": "markdown", "metadata": {}, "source": ["# Title"]},
                *(
                    {
                        "cell_type": "code",
                        "execution_count": None,
                        "metadata": {},
                        "outputs": [],
                        "source": cell.splitlines(keepends=True),
                    }
                    for cell in cells
                ),
            ],
            "metadata": {},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    )


def make(folder: Path, monkeypatch: pytest.MonkeyPatch, root: Path | None = None) -> Workspace:
    """Write the workbook into `folder`, make it the current one for the test, and give its empty workspace."""
    notebooks, reference = folder / "notebooks", folder / "solutions"
    for path in (notebooks / "images", notebooks / "quizzes", reference):
        path.mkdir(parents=True)
    (notebooks / "workbook.toml").write_text(MANIFEST)
    (notebooks / "01_first.ipynb").write_text(
        notebook("%load_ext labserve", *(f"%%exercise {id_}\n{STUBS[id_]}" for id_ in ("1.1", "1.2")))
    )
    (notebooks / "02_second.ipynb").write_text(notebook(f"%%exercise 2.1\n{STUBS['2.1']}"))
    for name, text in {"first": FIRST, "second": SECOND, "settings": SETTINGS, "__init__": ""}.items():
        (reference / f"{name}.py").write_text(text)
    monkeypatch.setattr(places, "ROOT", folder)
    monkeypatch.setattr(places, "NOTEBOOKS", notebooks)
    monkeypatch.setattr(places, "MANIFEST", notebooks / "workbook.toml")
    monkeypatch.setattr(places, "QUIZZES", notebooks / "quizzes")
    monkeypatch.setattr(places, "REFERENCE", reference)
    root = root or folder / "workspace"
    monkeypatch.setenv("LABSERVE_WORKSPACE", str(root))
    monkeypatch.setenv("LABSERVE_WORKING", "")
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[:])
    assembly.forget()
    return Workspace(root, manifest.load(places.MANIFEST, reference))


def check_with(monkeypatch: pytest.MonkeyPatch, parts: dict[str, list[Callable]], limit: float = 5.0) -> None:
    """Have these functions as the checks of the two chapters, for the test."""
    for name in ("first", "second"):
        monkeypatch.setitem(sys.modules, f"labserve.checks.{name}", ModuleType(name))
    monkeypatch.setattr(checking, "_PARTS", {id_: [(part, limit) for part in some] for id_, some in parts.items()})
