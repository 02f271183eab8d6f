"""Every test has a workspace of its own."""

from pathlib import Path

import pytest

from labserve import manifest, places
from labserve.workspace import Workspace

WORKBOOK = manifest.load(places.MANIFEST, places.REFERENCE)


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty workspace, which is also the current one."""
    monkeypatch.setenv("LABSERVE_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.delenv("LABSERVE_WORKING", raising=False)
    return Workspace(tmp_path / "workspace", WORKBOOK)
