# another design: the package python-json-logger, and no helper of the stub
import logging
import math
import re
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

from pythonjsonlogger.json import JsonFormatter as _Packaged

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


class JsonFormatter(_Packaged):
    def __init__(self) -> None:
        super().__init__("%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        safe = logging.makeLogRecord({"name": record.name, "levelname": record.levelname, "created": record.created})
        safe.msg, safe.exc_info = said(record), record.exc_info
        own = {"time", "level", "logger", "message", "request_id", "exception"}
        for name in vars(record).keys() - vars(safe).keys() - {"message", "asctime", "color_message"}:
            safe.__dict__[f"{name}_" if name in own else name] = plain(vars(record)[name], name)
        return super().format(safe)

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        super().add_fields(log_data, record, message_dict)
        log_data |= {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "request_id": current_id.get() or None,
        }
        if "exc_info" in log_data:
            log_data["exception"] = log_data.pop("exc_info")


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
