"""How the service is put together: which file stands behind each module of `my_service`, and the app made of them.

A module is the student's where it passes, or while it is being worked on; otherwise the reference's. Reference modules
are loaded *as* `my_service.…`, so relative imports reach the student's modules without either knowing of the other.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from labserve import places, workspace
from labserve.journal import Journal
from labserve.workspace import Workspace

if TYPE_CHECKING:
    from fastapi import APIRouter, FastAPI

PACKAGE = "my_service"
_WORKING = "LABSERVE_WORKING"  # an environment variable, so that the processes of `live` see it too


@dataclass(frozen=True)
class Choice:
    """The file behind a module, and whose it is."""

    module: str
    path: Path
    yours: bool

    def __str__(self) -> str:
        return f"{self.module} {'yours' if self.yours else 'reference'}"


def choices(space: Workspace) -> list[Choice]:
    """One choice a module, in the order of assembly; modules that no chapter here writes are the reference's."""
    progress, working = Journal(space), os.environ.get(_WORKING)
    chosen = []
    for chapter in space.workbook.chapters:
        path = space.path(chapter.module)
        yours = path.exists() and (chapter.module == working or progress.passes(chapter))
        chosen.append(Choice(chapter.module, path if yours else places.REFERENCE / path.name, yours))
    rest = sorted(
        path for path in places.REFERENCE.glob("*.py") if path.stem not in {"__init__", *space.workbook.modules}
    )
    return chosen + [Choice(path.stem, path, yours=False) for path in rest]


def work_on(space: Workspace, module: str) -> None:
    """Take the student's own `module` from now on, passing or not, in this process and those it starts."""
    os.environ[_WORKING] = module


def load(space: Workspace, module: str) -> ModuleType:
    """`my_service.<module>` as the files now stand; everything is loaded anew if any file changed since."""
    loaded = sys.modules.get(PACKAGE)
    if loaded is not None and getattr(loaded, "__state__", None) != _state(space):
        forget()
    make_importable(space)
    return importlib.import_module(f"{PACKAGE}.{module}")


def make_importable(space: Workspace) -> None:
    """Let this process import `my_service`."""
    space.open_package()
    if sys.path[:1] != [str(space.root)]:
        sys.path[:] = [str(space.root), *(entry for entry in sys.path if entry != str(space.root))]
    importlib.invalidate_caches()


def forget() -> None:
    """Have every module of `my_service` loaded anew when it is asked for next."""
    for name in [name for name in sys.modules if name == PACKAGE or name.startswith(PACKAGE + ".")]:
        del sys.modules[name]
    # A thread that was ended in the middle of an import, or sleeps there, holds its lock: the next gets a new one.
    locks = vars(sys.modules["_frozen_importlib"]).get("_module_locks", {})
    for name in [name for name in list(locks) if name == PACKAGE or name.startswith(PACKAGE + ".")]:
        locks.pop(name, None)


def service(space: Workspace, upto: str, **settings: Any) -> "FastAPI":
    """The service as it stands after the chapter of module `upto`: the modules so far, in order.

    A module brings its routes as `router` and anything else by `install(app)`. A route takes the place of an earlier
    chapter's with its path and method. The finished service is put together by `create_app` of chapter 9, to the same
    routes.
    """
    from fastapi_offline import FastAPIOffline

    app: FastAPI = FastAPIOffline(title="labserve", version="1.0.0")
    app.state.settings = load(space, "settings").Settings(**settings)
    names = space.workbook.modules
    modules = [importlib.import_module(f"{PACKAGE}.{name}") for name in names[: names.index(upto) + 1]]
    for router in _newest([module.router for module in modules if hasattr(module, "router")]):
        app.include_router(router)
    for module in modules:
        if hasattr(module, "install"):
            module.install(app)
    return app


def _newest(routers: "list[APIRouter]") -> "list[APIRouter]":
    """The routers in their order, each less the routes that a later one brings too."""
    from fastapi import APIRouter

    taken: set[tuple[str, str]] = set()
    kept: list[APIRouter] = []
    for router in reversed(routers):
        routes = [route for route in router.routes if not _served(route) & taken]
        taken.update(*map(_served, routes))
        kept.insert(0, APIRouter(routes=routes, lifespan=router.lifespan_context))
    return kept


def _served(route: Any) -> set[tuple[str, str]]:
    return {(route.path, method) for method in getattr(route, "methods", None) or ()}


def attach(package: str) -> None:
    """Called by `my_service/__init__.py`: from here on its modules come from the files chosen for them."""
    root = Path(str(sys.modules[package].__file__)).parent.parent
    space = Workspace(root, workspace.current().workbook)
    sys.modules[package].__state__ = _state(space)  # type: ignore[attr-defined]
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    sys.meta_path.insert(0, _Finder({f"{package}.{choice.module}": choice.path for choice in choices(space)}))


def _state(space: Workspace) -> list[tuple[str, bytes]]:
    """What the modules are made from. The text itself, as two quick edits can share length and time."""
    return [(str(space.root), b""), *((str(choice.path), choice.path.read_bytes()) for choice in choices(space))]


class _Finder(MetaPathFinder):
    def __init__(self, paths: dict[str, Path]) -> None:
        self.paths = paths

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = self.paths.get(fullname)
        return (
            importlib.util.spec_from_file_location(fullname, file, loader=_Loader(fullname, str(file)))
            if file
            else None
        )


class _Loader(SourceFileLoader):
    """Compiles from the source each time: a cached .pyc is matched by whole seconds, too coarse for quick edits."""

    def get_code(self, fullname: str) -> Any:
        return self.source_to_code(self.get_data(self.path), self.path)
