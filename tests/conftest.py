"""Every test has a workspace of its own, needs no network, and serves the bundled model.

The notebooks are collected too: each with the reference answers in its answer cells, every cell a test item of nbval.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from nbval.plugin import IPyNbFile

from labserve import coaching, manifest, notebooks, places
from labserve.workspace import Workspace

WORKBOOK = manifest.load(places.MANIFEST, places.REFERENCE)

os.environ["LABSERVE_MODEL"] = "efficientnet_lite0"
os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # the kernel's debugger warns about frozen modules on stderr


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty workspace, which is also the current one."""
    monkeypatch.setenv("LABSERVE_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.delenv("LABSERVE_WORKING", raising=False)
    return Workspace(tmp_path / "workspace", WORKBOOK)


class SolvedNotebook(IPyNbFile):
    """A notebook with the reference answers, run in a workspace of its own."""

    def setup(self) -> None:
        os.environ["LABSERVE_WORKSPACE"] = str(self.path.parent / f"workspace-{self.path.stem}-{os.getpid()}")
        super().setup()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Iterator[SolvedNotebook] | None:
    for chapter in WORKBOOK.chapters:
        if file_path == places.NOTEBOOKS / chapter.notebook:
            space = Workspace(Path("unused"), WORKBOOK)
            answers = {exercise.id: coaching.reference_answer(space, exercise) for exercise in chapter.exercises}
            solved = Path(parent.config.cache.mkdir("solved")) / chapter.notebook
            notebooks.write(solved, notebooks.splice(notebooks.read(file_path), answers))
            return [SolvedNotebook.from_parent(parent, path=solved)]
    return None
