"""`labserve doctor`: what is installed, what works, and what to do about the rest."""

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from labserve import manifest, net, places, workspace, zoo
from labserve.errors import LabserveError


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `ok` False means that something has to be done, and `text` says what."""

    topic: str
    text: str
    ok: bool = True

    def __str__(self) -> str:
        return f"{'✓' if self.ok else '✗'} {self.topic + ':':12} {self.text}"


def findings() -> list[Finding]:
    """Everything that was looked at, in the order of the set-up."""
    return [*_software(), *_device(), *_models(), _workbook(), _folder(), _port(), _space_on_disk()]


def _software() -> Iterator[Finding]:
    yield Finding("Python", f"{platform.python_version()} at {sys.executable}", sys.version_info >= (3, 11))
    for name in ("fastapi", "pydantic", "torch", "torchvision", "jupyterlab"):
        try:
            yield Finding(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "is not installed: run `make lab` or `pip install -e .`", ok=False)


def _device() -> Iterator[Finding]:
    try:
        import torch
    except Exception as error:  # a broken build can raise anything
        yield Finding("device", f"torch does not import ({error}): install it again", ok=False)
        return
    found = torch.accelerator.current_accelerator(check_available=True)
    yield Finding("device", str(found or f"cpu, {torch.get_num_threads()} threads"))


def _models() -> Iterator[Finding]:
    for name in zoo.SPECS:
        here = zoo.on_disk(name)
        text = "weights are here" if here else f"no weights here: `labserve models --download {name}` if you want it"
        yield Finding(name, text, here or name != zoo.BUNDLED)


def _workbook() -> Finding:
    try:
        book = manifest.load(places.MANIFEST, places.REFERENCE)
    except LabserveError as error:
        return Finding("workbook", str(error), ok=False)
    return Finding("workbook", f"{len(book.chapters)} chapters, {len(book.exercises)} exercises")


def _folder() -> Finding:
    try:
        root = workspace.current().root
    except LabserveError as error:
        return Finding("workspace", str(error), ok=False)
    home = next(folder for folder in (root, *root.parents) if folder.exists())
    if home.is_dir() and os.access(home, os.W_OK):
        return Finding("workspace", str(root))
    return Finding("workspace", f"{root} cannot be written: set LABSERVE_WORKSPACE to a folder of yours", ok=False)


def _port() -> Finding:
    try:
        net.refuse_taken_port("127.0.0.1", 8000, "labserve serve --port")
    except LabserveError as error:
        return Finding("port 8000", str(error))
    return Finding("port 8000", "free")


def _space_on_disk() -> Finding:
    free = shutil.disk_usage(places.ROOT).free / 1e9
    return Finding(
        "disk", f"{free:.0f} GB free" + ("" if free > 1 else ": make room, notebooks cannot be saved"), free > 1
    )
