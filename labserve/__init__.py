"""labserve: build a production API around a model, chapter by chapter, in JupyterLab.

In a notebook, `%load_ext labserve` brings the `%%exercise` magic. `check`, `hint`, `solution` and `reset` take an
exercise id such as "2.1"; `quiz` and `service` take a chapter's number; `live` starts a server around an app.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labserve.extension import check, hint, progress, quiz, reset, service, solution
    from labserve.serving import live

__version__ = "1.0.0"
__all__ = ["check", "hint", "live", "progress", "quiz", "reset", "service", "solution"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import labserve` alone stays quick."""
    if name not in __all__:
        raise AttributeError(f"module 'labserve' has no attribute {name!r}")
    return getattr(importlib.import_module("labserve.serving" if name == "live" else "labserve.extension"), name)


def load_ipython_extension(shell: Any) -> None:
    """Called by `%load_ext labserve`."""
    from labserve import extension

    extension.register(shell)
