"""The one way in which a check sees the student's code. All that crosses is JSON (see `wire`)."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from labserve import wire
from labserve.wire import Ref


class Side(Protocol):
    """The other side: a `Host` in this process, or a jailed one at the end of a pipe."""

    def handle(self, message: str, timeout: float) -> str: ...


@dataclass(frozen=True)
class Raised:
    """An error of the student's code as data. `where` is the line of theirs that it came from, or empty."""

    type: str
    message: str
    where: str = ""
    details: Any = None

    def __str__(self) -> str:
        message = self.message
        if isinstance(self.details, list):  # pydantic's, which would take four lines a fault
            message = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in self.details)
        text = f"{self.type}: {message}" if message else self.type
        return f"{text} ({self.where})" if self.where else text


@dataclass(frozen=True)
class Outcome:
    """What a call gave: a value, or an error."""

    value: Any = None
    error: Raised | None = None

    def __str__(self) -> str:
        return str(self.error) if self.error else _short(self.value)


@dataclass(frozen=True)
class Reply:
    """What a request got. `seconds` is from sending it to the whole answer; `error` is what the endpoint raised.

    The names in `headers` are in small letters.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    error: Raised | None = None

    @property
    def json(self) -> Any:
        """The body as JSON; None if it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def __str__(self) -> str:
        text = self.body.decode("utf-8", "replace")
        shown = text if len(text) <= 400 else text[:400] + " …"
        return f"{self.status} {shown}".rstrip() + (f", because the endpoint raised {self.error}" if self.error else "")


@dataclass(frozen=True)
class Request:
    """One HTTP request. `files` maps a form field to (file name, bytes, content type)."""

    method: str
    path: str
    params: Mapping[str, Any] | None = None
    json: Any = None
    files: Mapping[str, tuple[str, bytes, str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None

    def __str__(self) -> str:
        query = "?" + "&".join(f"{k}={v}" for k, v in self.params.items()) if self.params else ""
        parts = [f"{self.method} {self.path}{query}"]
        if self.json is not None:
            parts.append(f"with the JSON {_short(self.json)}")
        for name, (filename, data, kind) in self.files.items():
            parts.append(f"with {name}={filename!r} ({len(data):,} bytes, {kind})")
        return " ".join(parts)


class Probe:
    """Sends requests to, and calls public names of, the student's module.

    `rng` is what a check draws its made-up input from, so that an answer cannot be written for one fixed input.
    `limit` is how many seconds each thing asked may take; TimeoutError after that.
    """

    def __init__(self, side: Side, *, seed: int | None = None, limit: float = 10.0) -> None:
        self._side = side
        self.rng = random.Random(seed)
        self.limit = limit

    def start(
        self,
        *,
        settings: Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        lifespan: bool = False,
    ) -> Outcome:
        """Put the app together anew, with these settings and these values on `app.state`.

        A value that is a mapping becomes an object. With `lifespan` its start-up runs too. Without this call an app
        with neither is made for the first request.
        """
        message = {"settings": dict(settings or {}), "state": dict(state or {}), "lifespan": lifespan}
        return self._outcome(lambda: "the start of the service", do="start", **message)

    def http(self, method: str, path: str, **request: Any) -> Reply:
        """Send one request; the keyword arguments are those of `Request`."""
        return self.send(Request(method, path, **request))

    def send(self, request: Request) -> Reply:
        return self.together([request])[0]

    def together(self, requests: Sequence[Request]) -> list[Reply]:
        """Send requests at the same time; replies in the order of the requests."""
        outcome = self._outcome(lambda: _sent(requests), do="http", requests=[_parts(request) for request in requests])
        if outcome.error:
            raise CannotAsk(outcome.error, _sent(requests))
        return [
            Reply(**{**reply, "error": Raised(**reply["error"]) if reply["error"] else None}) for reply in outcome.value
        ]

    def call(self, target: str, /, *args: Any, **kwargs: Any) -> Outcome:
        """Call a public name, "validation.PredictionRequest"; a name that is not callable gives its value."""
        message = {"target": target, "args": args, "kwargs": kwargs}
        return self._outcome(lambda: _called(target, args, kwargs), do="call", **message)

    def method(self, on: Ref, name: str, /, *args: Any, **kwargs: Any) -> Outcome:
        """Call a method, or read an attribute, of an object that stayed on the student's side."""
        message = {"on": on, "target": name, "args": args, "kwargs": kwargs}
        return self._outcome(lambda: _called(f"{on.type}.{name}", args, kwargs), do="call", **message)

    def logs(self) -> list[dict[str, Any]]:
        """What was logged since the last call, from INFO up.

        One mapping a record: `levelname`, `message`, `name`, extra fields and so on.
        """
        return list(self._outcome(lambda: "the logs", do="logs").value)

    def _outcome(self, sent: Callable[[], str], **message: Any) -> Outcome:
        try:
            reply = wire.loads(self._side.handle(wire.dumps(message), self.limit))
        except TimeoutError:
            raise TimeoutError(sent()) from None
        error = reply.get("error")
        return Outcome(reply.get("value"), Raised(**error) if error else None)


class CannotAsk(Exception):
    """The app could not be put together, so `sent` could not be sent to it."""

    def __init__(self, error: Raised, sent: str = "") -> None:
        super().__init__(str(error))
        self.error, self.sent = error, sent


def _parts(request: Request) -> dict[str, Any]:
    return {
        "method": request.method,
        "url": request.path,
        "params": dict(request.params) if request.params else None,
        "json": request.json,
        "headers": dict(request.headers),
        "content": request.content,
        "files": [[name, *parts] for name, parts in request.files.items()],
    }


def _sent(requests: Sequence[Request]) -> str:
    return str(requests[0]) + (f" and {len(requests) - 1} more" if requests[1:] else "")


def _called(target: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    given = [_short(value) for value in args] + [f"{name}={_short(value)}" for name, value in kwargs.items()]
    return f"{target}({', '.join(given)})"


def _short(value: Any) -> str:
    text = str(value) if isinstance(value, wire.Array) else value.repr if isinstance(value, Ref) else repr(value)
    return text if len(text) <= 400 else text[:400] + " …"
