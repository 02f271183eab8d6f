"""Starting the finished service from the command line."""

import os
from pathlib import Path

from labserve import assembly, workspace, zoo
from labserve.errors import LabserveError
from labserve.net import refuse_taken_port


def serve(*, mine: bool, model: str | None, host: str, port: int) -> None:
    """Run the service until it is stopped: the reference, or with `mine` the student's modules where they pass.

    What cannot work is refused before the server starts: LabserveError for a wrong setting, a port taken, a model
    unknown or not to be had.
    """
    import uvicorn
    from pydantic import ValidationError

    from solutions.settings import Settings

    try:
        settings = Settings()
    except ValidationError as error:
        fault = error.errors()[0]
        message = fault["msg"].removeprefix("Value error, ")
        raise LabserveError(f"LABSERVE_{str(fault['loc'][0]).upper()}: {message}, not {fault['input']!r}.") from None
    _refuse_missing_device(settings.device)
    _refuse_missing_folder("PROMETHEUS_MULTIPROC_DIR")
    refuse_taken_port(host, port, "labserve serve --port")
    os.environ["LABSERVE_MODEL"] = zoo.choose(model or os.environ.get("LABSERVE_MODEL"))
    target = "solutions.app:app"
    if mine:
        space = workspace.current()
        assembly.make_importable(space)
        target = f"{assembly.PACKAGE}.app:app"
        print("Modules: " + ", ".join(str(choice) for choice in assembly.choices(space)), flush=True)
    # A client that stops in the middle of its upload may not keep the service from stopping.
    uvicorn.run(target, host=host, port=port, timeout_graceful_shutdown=10)


def _refuse_missing_device(name: str) -> None:
    import torch

    try:
        torch.zeros(1, device=None if name == "auto" else name).cpu()
    except (RuntimeError, AssertionError) as error:
        raise LabserveError(f"LABSERVE_DEVICE: {str(error).splitlines()[0]}, not {name!r}. Try: auto") from None


def _refuse_missing_folder(variable: str) -> None:
    folder = os.environ.get(variable)
    if folder and not Path(folder).is_dir():
        raise LabserveError(f"{variable}: there is no folder {folder}. Make an empty one, or unset the variable.")
