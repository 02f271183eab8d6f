"""Opening JupyterLab for a student."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from labserve.errors import LabserveError
from labserve.journal import Journal
from labserve.net import refuse_taken_port
from labserve.workspace import Workspace

# Turns off the part of JupyterLab that asks the student about news and the network for newer versions.
_CONFIG = Path(__file__).with_name("jupyter-config")


def open_lab(space: Workspace, notebook: str | None, port: int) -> int:
    """Run JupyterLab in the workspace until it is stopped; returns its exit status.

    Opens `notebook`, or the next unfinished one, in the student's own copies. Where there is no screen no browser is
    started, and the printed URL is the way in.
    """
    space.copy_notebooks()
    name = notebook or Journal(space).next_chapter().notebook
    if not (space.root / name).is_file():
        known = ", ".join(chapter.notebook for chapter in space.workbook.chapters)
        raise LabserveError(f"There is no notebook {name!r}. Notebooks: {known}.")
    refuse_taken_port("127.0.0.1", port, "labserve lab --port")
    command = [sys.executable, "-m", "jupyter", "lab", f"--port={port}", "--ServerApp.port_retries=0"]
    command += [f"--ServerApp.root_dir={space.root}", f"--LabApp.default_url=/lab/tree/{name}"]
    if os.name == "posix" and os.geteuid() == 0:  # as in a container; JupyterLab would refuse, and there is no one else
        command.append("--allow-root")
    if not _has_screen():
        command.append("--no-browser")
        print("There is no screen here: open the URL with the token that JupyterLab prints below.", flush=True)
    print(f"Your notebooks are in {space.root}. Opening {name}.", flush=True)
    # A relative LABSERVE_WORKSPACE would lead elsewhere from the folder in which the kernels start.
    config = os.pathsep.join(filter(None, [str(_CONFIG), os.environ.get("JUPYTER_CONFIG_PATH")]))
    environment = os.environ | {"LABSERVE_WORKSPACE": str(space.root), "JUPYTER_CONFIG_PATH": config}
    with subprocess.Popen(command, env=environment) as server:
        signal.signal(signal.SIGTERM, lambda *_: server.terminate())
        while True:
            try:
                return server.wait()
            except KeyboardInterrupt:  # JupyterLab has had it too, and asks whether to stop
                continue


def _has_screen() -> bool:
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
