"""Notebooks as data: the answer cells of an .ipynb file, found by their `%%exercise` line.

Reads the JSON itself: importing nbformat costs more than a second, and nothing here needs it.
"""

import copy
import json
import re
from pathlib import Path
from typing import Any

from labserve import files
from labserve.errors import LabserveError

_ANSWER = re.compile(r"\s*%%exercise[ \t]+(\S+)[ \t]*(?:\r?\n|$)")

Notebook = dict[str, Any]


def read(path: Path) -> Notebook:
    """The notebook's JSON; LabserveError if the file is missing or is not a notebook."""
    try:
        notebook = json.loads(files.read(path))
        cells = notebook["cells"]
        sound = isinstance(cells, list) and all(isinstance(_source(cell), str) for cell in cells)
    except FileNotFoundError:
        raise LabserveError(f"{path}: there is no such notebook.") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise LabserveError(
            f"{path}: this is not a notebook (its JSON has no list of cells). "
            "Move it away, and `labserve lab` brings a fresh copy."
        )
    return notebook  # type: ignore[no-any-return]


def write(path: Path, notebook: Notebook) -> None:
    """Replace the file by this notebook, at once."""
    files.replace(path, (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode())


def answers(notebook: Notebook) -> dict[str, str]:
    """The source of every answer cell by exercise id, without its `%%exercise` line."""
    return {
        found[1]: source[found.end() :] for cell in notebook["cells"] if (found := _mark(source := _source(cell), cell))
    }


def splice(notebook: Notebook, sources: dict[str, str]) -> Notebook:
    """A copy of the notebook with these answers in its answer cells; the rest as it was."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook["cells"]:
        found = _mark(_source(cell), cell)
        if found and found[1] in sources:
            cell["source"] = f"%%exercise {found[1]}\n{sources[found[1]]}".splitlines(keepends=True)
    return notebook


def _source(cell: dict[str, Any]) -> str:
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def _mark(source: str, cell: dict[str, Any]) -> re.Match[str] | None:
    return _ANSWER.match(source) if cell.get("cell_type") == "code" else None
