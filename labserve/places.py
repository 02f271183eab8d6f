"""Where the workbook's own parts are. The student's folder is in `workspace.py`."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
MANIFEST = NOTEBOOKS / "workbook.toml"
QUIZZES = NOTEBOOKS / "quizzes"
REFERENCE = ROOT / "solutions"
