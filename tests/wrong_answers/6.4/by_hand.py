# earns: it is not valid JSON
import json
import logging
import math
import re
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

SECRET = re.compile(r"authorization|cookie|passw|secret|token|api.?key", re.IGNORECASE)
SHORT = reprlib.Repr()  # a repr that never raises, and is cut
SHORT.maxother = 200


def plain(value: Any, name: str = "", depth: int = 0) -> Any:
    """What JSON can hold of a value: what its name calls a secret is hidden, and of bytes only the number is told."""
    if SECRET.search(name):
        return "[hidden]"
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case str():
            return value.encode("utf-8", "replace").decode()  # half a surrogate pair is no text
        case bytes() | bytearray() | memoryview():
            return f"[{len(value)} bytes]"
        case Mapping() | list() | tuple() | set() | frozenset() if depth > 4:
            return "[nested too deep]"
        case Mapping():
            return {plain(str(key)): plain(item, str(key), depth + 1) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item, name, depth + 1) for item in value]
    return SHORT.repr(value)


def said(record: logging.LogRecord) -> str:
    """The message with its arguments in their places, or beside it if they do not fit."""
    args = record.args
    if isinstance(args, tuple):
        args = tuple(plain(arg) if isinstance(arg, bytes) else arg for arg in args)
    try:
        return str(plain(str(record.msg) % args if args else str(record.msg)))
    except Exception:
        return f"{plain(record.msg)} {plain(args)}"


class JsonFormatter(logging.Formatter):
    """One line of JSON for a record, its `extra` fields included."""

    known = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}

    def format(self, record: logging.LogRecord) -> str:
        told = datetime.fromtimestamp(record.created, UTC).isoformat()
        line = (
            f'{{"time": "{told}", "level": "{record.levelname}", "logger": "{record.name}", "message": "{said(record)}"'
        )
        line += f', "request_id": {json.dumps(current_id.get() or None)}'
        if record.exc_info:
            line += f', "exception": {json.dumps(self.formatException(record.exc_info))}'
        for name, value in vars(record).items():
            if name not in self.known:
                line += f', "{name}": {json.dumps(plain(value, name))}'
        return line + "}"


@contextmanager
def json_logs(level: str, stream: TextIO | None = None) -> Iterator[None]:
    """Write all log lines as JSON, the server's own among them; its access log rests, as `Watch` has one."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root, server, access = (logging.getLogger(name) for name in ("", "uvicorn", "uvicorn.access"))
    before = root.level, server.handlers, server.propagate, access.disabled
    handler.setLevel(level)
    root.addHandler(handler)
    root.setLevel(level)
    server.handlers, server.propagate, access.disabled = [], True, True
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.level, server.handlers, server.propagate, access.disabled = before
