"""The notebooks as tests: each with the reference answers in its answer cells, every cell a test item of nbval."""

import os
import tempfile
from pathlib import Path

import pytest
from nbval.plugin import IPyNbFile

from labserve import coaching, manifest, notebooks, places
from labserve.workspace import Workspace

# Before any test: they need no network, so they serve the bundled model.
os.environ["LABSERVE_MODEL"] = "efficientnet_lite0"
os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # the kernel's debugger warns about frozen modules on stderr


class SolvedNotebook(IPyNbFile):
    """A notebook with the reference answers, run in a workspace of its own."""

    def setup(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._environment = pytest.MonkeyPatch()
        self._environment.setenv("LABSERVE_WORKSPACE", self._folder.name)
        self._environment.delenv("LABSERVE_WORKING", raising=False)
        super().setup()

    def teardown(self) -> None:
        super().teardown()
        self._environment.undo()
        self._folder.cleanup()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> SolvedNotebook | None:
    """Collect a chapter's notebook as it looks when all its exercises are solved."""
    if file_path.parent != places.NOTEBOOKS or file_path.suffix != ".ipynb":
        return None
    workbook = manifest.load(places.MANIFEST, places.REFERENCE)
    space = Workspace(file_path.parent, workbook)
    handed_out = notebooks.read(file_path)
    answers = {id_: coaching.reference_answer(space, workbook.exercise(id_)) for id_ in notebooks.answers(handed_out)}
    solved = parent.config.cache.mkdir("solved") / file_path.name
    notebooks.write(solved, notebooks.splice(handed_out, answers))
    return SolvedNotebook.from_parent(parent, path=solved)
