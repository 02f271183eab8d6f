"""What an answer logs while it is checked: kept for the check, and off the student's page."""

import contextlib
import io
import logging
import sys
import traceback
from contextvars import copy_context
from typing import Any
from unittest import mock


class LogKeeper(logging.Handler):
    """Keeps what is logged from INFO up, by any logger, as plain values; and keeps the page clear of it.

    A handler that writes to stdout or stderr gives its lines to `take_lines` in place of printing them.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._records: list[dict[str, Any]] = []
        self._lines: list[str] = []
        self._undo = contextlib.ExitStack()

    def listen(self) -> None:
        """Begin; `detach` ends it and undoes what an answer did to the root logger."""
        root, handle = logging.getLogger(), logging.Handler.handle

        def quiet(handler: logging.Handler, record: logging.LogRecord) -> bool | logging.LogRecord:
            stream = getattr(handler, "stream", None)
            shown = stream is not None and stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
            return self._keep_line(handler, record) if shown else handle(handler, record)

        self._undo.callback(setattr, root, "handlers", root.handlers[:])
        self._undo.callback(root.setLevel, root.level)
        self._undo.enter_context(mock.patch.object(logging, "raiseExceptions", False))
        self._undo.enter_context(mock.patch.object(logging.Handler, "handle", quiet))
        self.attach()

    def attach(self) -> None:
        """Listen at the root; again and again, as an answer may set up logging of its own."""
        root = logging.getLogger()
        root.addHandler(self)
        root.setLevel(min(root.level, logging.INFO))

    def detach(self) -> None:
        self._undo.close()

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.name.startswith("httpx2")  # the client's own

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception as error:  # logging itself reports this on stderr and goes on
            message = f"{record.msg} with {record.args}: {type(error).__name__}: {error}"
        context = {variable.name: value for variable, value in copy_context().items() if isinstance(value, str)}
        self._records.append({**json_safe(vars(record)), "message": message, "context": context})

    def take(self) -> list[dict[str, Any]]:
        taken, self._records = self._records, []
        return taken

    def take_lines(self) -> list[str]:
        taken, self._lines = self._lines, []
        return taken

    def _keep_line(self, handler: logging.Handler, record: logging.LogRecord) -> bool:
        wanted = self.filter(record) and handler.filter(record)
        if wanted:
            try:
                self._lines.append(handler.format(record))
            except Exception as error:
                self._lines.append(f"--- Logging error --- {type(error).__name__}: {error}")
        return bool(wanted)


def written(
    formatter: Any, logger: str, level: int, message: Any, args: list[Any], extra: dict[str, Any], error: str | None
) -> str:
    """What a logger with this formatter, or class of them, writes, and what logging itself complains of.

    With `error` a RuntimeError with this text is logged along.
    """
    handler = _Writing(formatter() if isinstance(formatter, type) else formatter)
    writer = logging.Logger(logger)
    writer.addHandler(handler)
    writer.log(level, message, *args, extra=extra, exc_info=_caught(error) if error is not None else None)
    return handler.stream.getvalue()


class _Writing(logging.StreamHandler[io.StringIO]):
    """Writes into a text, also what logging has to complain of."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__(io.StringIO())
        self.setFormatter(formatter)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        self.stream.write(f"--- Logging error ---\n{traceback.format_exc()}")


def _caught(text: str) -> RuntimeError:
    """An error that has been raised, and so has a traceback."""
    try:
        raise RuntimeError(text)
    except RuntimeError as error:
        return error


def json_safe(details: Any) -> Any:
    """The same without what JSON has no place for: that becomes a text."""
    if isinstance(details, dict):
        return {str(key): json_safe(value) for key, value in details.items()}
    if isinstance(details, list | tuple):
        return [json_safe(item) for item in details]
    return details if isinstance(details, str | int | float | bool | None) else str(details)
