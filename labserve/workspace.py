"""The student's folder: copies of the notebooks, the package `my_service`, the progress file and backups.

Every write keeps what was there or replaces it by something that loads: a cell that does not parse, or whose module
does not import, leaves the module as it was.
"""

import hashlib
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from labserve import files, manifest, notebooks, places, sections
from labserve.errors import LabserveError
from labserve.manifest import Chapter, Workbook

_PACKAGE_TEXT = '''"""Your service: the modules you write, and the reference for those that do not pass yet."""

from labserve.assembly import attach

attach(__name__)
'''


class Workspace:
    """The folder at `root`, for the exercises of `workbook`. Nothing is written before it is needed."""

    def __init__(self, root: Path, workbook: Workbook) -> None:
        self.root = root
        self.workbook = workbook
        self.package = root / "my_service"
        self.progress_file = root / "progress.txt"
        self.backups = root / "backups"

    def path(self, module: str) -> Path:
        """Where the student's module of this name is, or would be."""
        return self.package / f"{module}.py"

    def stub(self, exercise_id: str) -> str:
        """The section as the workbook hands it out."""
        chapter = self.workbook.chapter_of(exercise_id)
        return self._stubs(chapter)[exercise_id]

    def section(self, exercise_id: str) -> str:
        """The student's section; the stub where none was stored yet."""
        chapter = self.workbook.chapter_of(exercise_id)
        return self._stored(chapter)[1].get(exercise_id) or self.stub(exercise_id)

    def digest(self, exercise_id: str) -> str:
        """A short fingerprint of the section, so that a result can be tied to the text that earned it."""
        return hashlib.sha256(self.section(exercise_id).strip().encode()).hexdigest()[:8]

    def open_package(self) -> None:
        """Make sure that `my_service` is there and can be imported."""
        with files.writing(self.root):
            self.package.mkdir(parents=True, exist_ok=True)
            files.replace(self.package / "__init__.py", _PACKAGE_TEXT.encode())

    def begin(self, chapter: Chapter) -> Path:
        """Make sure that the chapter's module is there, with a section for every exercise. Returns its path."""
        self.open_package()
        path = self.path(chapter.module)
        if not self._stubs(chapter).keys() <= self._stored(chapter)[1].keys():
            self._store(chapter, {})
        return path

    @contextmanager
    def storing(self, exercise_id: str, source: str) -> Iterator[Path]:
        """Store a cell as the section of its exercise; undone if the body, which loads the module, raises.

        Raises LabserveError, before anything is written, if the source does not compile.
        """
        source = source.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        _refuse_unreadable(exercise_id, source)
        chapter = self.workbook.chapter_of(exercise_id)
        self.open_package()
        path = self.path(chapter.module)
        before = (path if path.exists() else self.begin(chapter)).read_bytes()
        kept = self.section(exercise_id)
        written = before
        try:
            written = self._store(chapter, {exercise_id: source})
            yield path
        except BaseException:
            with files.writing(path):
                if path.read_bytes() == written:
                    files.replace(path, before)
                else:  # another notebook has stored a section since: what it wrote stays
                    self._store(chapter, {exercise_id: kept})
            raise

    def reset(self, exercise_id: str, *, in_notebook: bool = True) -> Path:
        """Put the stub back into the module and into the student's notebook; returns the folder of the backup.

        The module and the notebook as they were are kept under `backups/`. `in_notebook` False leaves the notebook's
        file alone: JupyterLab has it open, and would ask the student which of the two is right.
        """
        stub = self.stub(exercise_id)
        chapter = self.workbook.chapter_of(exercise_id)
        notebook = self.root / chapter.notebook
        with files.writing(self.root):
            spliced = (
                notebooks.splice(notebooks.read(notebook), {exercise_id: stub})
                if in_notebook and notebook.exists()
                else None
            )
            self._stored(chapter)  # what cannot be read is refused here, before anything is written
            name = f"{datetime.now():%Y-%m-%d_%H%M%S}_{exercise_id}"
            taken = len(list(self.backups.glob(f"{name}*")))
            backup = self.backups / (f"{name}_{taken + 1}" if taken else name)
            backup.mkdir(parents=True)
            for path in (self.path(chapter.module), notebook):
                if path.exists():
                    shutil.copy2(path, backup)
            self.open_package()
            self._store(chapter, {exercise_id: stub})
            if spliced:
                notebooks.write(notebook, spliced)
        return backup

    def copy_notebooks(self) -> None:
        """Give the student a copy of every notebook not there yet, and the pictures the notebooks show."""
        with files.writing(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            for chapter in self.workbook.chapters:
                if not (self.root / chapter.notebook).exists():
                    files.replace(self.root / chapter.notebook, (places.NOTEBOOKS / chapter.notebook).read_bytes())
            shutil.copytree(places.NOTEBOOKS / "images", self.root / "images", dirs_exist_ok=True)

    def _stubs(self, chapter: Chapter) -> dict[str, str]:
        return notebooks.answers(notebooks.read(places.NOTEBOOKS / chapter.notebook))

    def _stored(self, chapter: Chapter) -> tuple[str, dict[str, str]]:
        """Head and sections of the student's module; empty where there is none."""
        path = self.path(chapter.module)
        return sections.split(files.read(path)) if path.exists() else ("", {})

    def _store(self, chapter: Chapter, changed: dict[str, str]) -> bytes:
        """Write the module with these sections changed: stored sections as they are, stubs for the rest."""
        head, stored = self._stored(chapter)
        title = f'"""Chapter {chapter.number}, written in {chapter.notebook}: one section an exercise."""'
        data = sections.join(head.strip() or title, self._stubs(chapter) | stored | changed).encode()
        with files.writing(self.root):
            files.replace(self.path(chapter.module), data)
        return data


def current() -> Workspace:
    """The workspace in use: `LABSERVE_WORKSPACE` if set, else `workspace/` beside the notebooks.

    It does not depend on the current folder, so a notebook works from wherever it is opened.
    """
    root = Path(os.environ.get("LABSERVE_WORKSPACE") or places.ROOT / "workspace").expanduser().resolve()
    return Workspace(root, manifest.load(places.MANIFEST))


def _refuse_unreadable(exercise_id: str, source: str) -> None:
    for number, line in enumerate(source.split("\n"), 2):  # the cell's first line is the magic
        if sections.has_mark(line):
            raise LabserveError(
                f"{exercise_id} was not stored, your module is as it was. Remove line {number} of the cell, "
                f"{line.strip()!r}: the module has a line like it above every exercise."
            )
    try:
        with warnings.catch_warnings(action="ignore"):  # they come when the module is loaded
            compile(source, "<cell>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise LabserveError(
            f"{exercise_id} was not stored, your module is as it was. {_unreadable(error, source)}"
        ) from None


def _unreadable(error: Exception, source: str) -> str:
    if not isinstance(error, SyntaxError):
        return f"Python cannot read the cell: {error}"
    line = error.lineno or 1
    text = "".join(source.split("\n")[line - 1 : line]).strip()
    magic = ". Lines for the notebook, with ! or %, belong in a cell of their own" if text[:1] in ("!", "%") else ""
    return f"Line {line + 1} of the cell: {error.msg}{magic}\n    {text}"
