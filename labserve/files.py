"""Files of the student: read and replaced as a whole, with one line to say what stands in the way."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labserve.errors import LabserveError


def read(path: Path) -> str:
    """The file's text; LabserveError, except FileNotFoundError, if it cannot be read or is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise LabserveError(f"{path}: cannot be read ({error.strerror}). Move it away and try again.") from None
    except UnicodeDecodeError as error:
        raise LabserveError(f"{path}: is not UTF-8 text from byte {error.start} on. Save it as UTF-8.") from None


def replace(path: Path, data: bytes) -> None:
    """Replace a file at once, so that an interrupt leaves the old content or the new, never half of it."""
    if path.exists() and path.read_bytes() == data:
        return
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")  # two kernels may write at the same time
    try:
        fresh.write_bytes(data)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Tell an OSError of the body as a LabserveError that names the file, or `place` where the error names none."""
    try:
        yield
    except OSError as error:
        raise LabserveError(
            f"{error.filename or place}: cannot be written ({error.strerror or error}). "
            "Free it, or set LABSERVE_WORKSPACE to a folder of yours."
        ) from None
