"""The one way in which a check sees the student's code. All that crosses is JSON (see `wire`)."""

import json
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from labserve import wire
from labserve.wire import Ref

File = tuple[str, bytes, str]

#: "module.name", an object that stayed on the student's side, or the name of an attribute of one.
Target = str | Ref | tuple[Ref, str]


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
    """What a request got. `seconds` is from sending it to the whole answer; `error` is what the app raised.

    `sent_bytes` is how much of the body the app asked for; a whole body that was not sent in chunks comes at once. The
    names in `headers` are in small letters.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    error: Raised | None = None
    sent_bytes: int = 0

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
        return f"{self.status} {shown}".rstrip() + (f", because the app raised {self.error}" if self.error else "")


@dataclass(frozen=True)
class Request:
    """One HTTP request. `files` maps a form field to (file name, bytes, content type); or lists such pairs.

    `chunks` are the parts of a body that does not say its length.
    """

    method: str
    path: str
    params: Mapping[str, Any] | None = None
    json: Any = None
    files: Mapping[str, File] | Sequence[tuple[str, File]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    chunks: Sequence[bytes] | None = None

    @property
    def uploads(self) -> list[tuple[str, File]]:
        """The files, field by field."""
        return [*self.files.items()] if isinstance(self.files, Mapping) else [*self.files]

    def __str__(self) -> str:
        query = "?" + "&".join(f"{k}={v}" for k, v in self.params.items()) if self.params else ""
        parts = [f"{self.method} {self.path}{query}"]
        if self.json is not None:
            parts.append(f"with the JSON {_short(self.json)}")
        for name, (filename, data, kind) in self.uploads:
            parts.append(f"with {name}={filename!r} ({len(data):,} bytes, {kind})")
        if self.content is not None:
            parts.append(f"with a body of {len(self.content):,} bytes")
        if self.chunks is not None:
            many = "1 chunk" if len(self.chunks) == 1 else f"{len(self.chunks)} chunks"
            parts.append(f"with a body of {sum(map(len, self.chunks)):,} bytes in {many}")
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
        lifespan: bool | Sequence[str] = False,
    ) -> Outcome:
        """Put the app together anew, with these settings and these values on `app.state`.

        A value that is a mapping becomes an object. With `lifespan` its start-up runs too, or that of the routers of
        the modules named. Without this call an app with neither is made for the first request.
        """
        message = {"settings": dict(settings or {}), "state": dict(state or {}), "lifespan": lifespan}
        return self._outcome(lambda: "the start of the service", do="start", **message)

    def layer(self, target: Target, app: Ref, **options: Any) -> Outcome:
        """Have requests go to this ASGI layer around this app, `target(app, **options)`, from now on."""
        return self._outcome(
            lambda: _called(target, [app], options), do="layer", target=target, app=app, options=options
        )

    def http(self, method: str, path: str, **request: Any) -> Reply:
        """Send one request; the keyword arguments are those of `Request`."""
        return self.send(Request(method, path, **request))

    def send(self, request: Request) -> Reply:
        return self.together([request])[0]

    def together(self, requests: Sequence[Request]) -> list[Reply]:
        """Send requests at the same time; replies in the order of the requests."""
        parts = [_parts(request) for request in requests]
        return [_reply(reply) for reply in self._asked(lambda: _sent(requests), do="http", requests=parts)]

    def begin(self, request: Request) -> Ref:
        """Send a request without waiting for its answer; `reply` waits."""
        begun: Ref = self._asked(lambda: str(request), do="begin", request=_parts(request))
        return begun

    def leave(self, request: Ref) -> None:
        """Have the client of a request that was begun hang up."""
        self._asked(lambda: f"a client that leaves {request.repr}", do="leave", exchange=request)

    def reply(self, request: Ref) -> Reply:
        """What a request that was begun got; 499 if its client left and the app did not answer any more."""
        return _reply(self._asked(lambda: request.repr, do="reply", exchange=request))

    def call(self, target: Target, /, *args: Any, **kwargs: Any) -> Outcome:
        """Call a public name, "validation.PredictionRequest"; a name that is not callable gives its value.

        What can be awaited is awaited.
        """
        return self._outcome(lambda: _called(target, args, kwargs), **_calling("value", target, args, kwargs))

    def method(self, on: Ref, name: str, /, *args: Any, **kwargs: Any) -> Outcome:
        """Call a method, or read an attribute, of an object that stayed on the student's side."""
        return self.call((on, name), *args, **kwargs)

    def keep(self, target: Target, /, *args: Any, **kwargs: Any) -> Ref:
        """Like `call`, but what it gives stays on the student's side; CannotCall if it raises."""
        kept: Ref = self._asked(lambda: _called(target, args, kwargs), **_calling("keep", target, args, kwargs))
        return kept

    def spawn(self, target: Target, /, *args: Any, **kwargs: Any) -> Ref:
        """Begin a call as a task on the student's event loop, and let it come to where it waits."""
        task: Ref = self._asked(lambda: _called(target, args, kwargs), **_calling("spawn", target, args, kwargs))
        return task

    def result(self, task: Ref) -> Outcome:
        """Wait for a task that was spawned."""
        return self.call(task)

    def make(self, kind: str, /, *args: Any, **kwargs: Any) -> Ref:
        """Make a stand-in of this kind (see `labserve.standins.KINDS`) on the student's side."""
        return self.keep(f"standins.{kind}", *args, **kwargs)

    def enter(self, manager: Ref) -> Ref:
        """Enter a context manager; the method "leave" of what this gives leaves it. CannotCall if it raises."""
        return self.make("entered", manager)

    def turns(self, number: int = 20) -> None:
        """Let the student's event loop turn, so that what can go on without waiting has gone on."""
        self.call("standins.turns", number)

    def stall(self, seconds: float) -> None:
        """Block the student's event loop."""
        self.call("standins.stall", seconds)

    def serve(self, pages: Mapping[str, Sequence[Any]], names: Mapping[str, Sequence[Any]] | None = None) -> str:
        """Put a small internet around the student's code (see `labserve.standins.Web`); gives its server's URL."""
        self._web = self.make("web", pages, names)
        return f"http://127.0.0.1:{self.method(self._web, 'port').value}"

    def served(self) -> list[tuple[str, str]]:
        """The path and the host of every request that the server of `serve` got."""
        return [(path, host) for path, host in self.method(self._web, "served").value]

    def lookups(self) -> list[str]:
        """The names that were looked up since `serve`."""
        return list(self.method(self._web, "lookups").value)

    def dialled(self) -> list[str]:
        """The addresses, "address:port", to which a connection was tried since `serve`."""
        return list(self.method(self._web, "dialled").value)

    def logs(self) -> list[dict[str, Any]]:
        """What was logged since the last call, from INFO up.

        One mapping a record: `levelname`, `message`, `name`, extra fields and so on; `context` has the texts among the
        context variables of that moment, by name.
        """
        return list(self._asked(lambda: "the logs", do="logs"))

    def lines(self) -> list[str]:
        """What handlers of the student's would have printed on stdout and stderr since the last call."""
        return list(self._asked(lambda: "the log", do="lines"))

    def noise(self) -> list[str]:
        """What the event loop complained of since the last call, such as an error of a task that nobody awaited."""
        return list(self._asked(lambda: "the event loop's complaints", do="noise"))

    def logged(
        self,
        formatter: Target,
        message: Any,
        args: Sequence[Any] = (),
        *,
        extra: Mapping[str, Any] | None = None,
        error: str | None = None,
        context: Mapping[str, Any] | None = None,
        name: str = "probe",
        level: int = logging.INFO,
    ) -> str:
        """What a logger with this formatter, or this class of them, writes; also what logging itself complains of.

        With `error` a RuntimeError with this text is logged along. `context` sets context variables first, by target.
        """
        record = {"message": message, "args": args, "extra": dict(extra or {}), "error": error}
        settings = {"formatter": formatter, "logger": name, "level": level, "context": dict(context or {})}
        return str(self._asked(lambda: f"the log record {record}", do="logged", **record, **settings))

    def _asked(self, sent: Callable[[], str], **message: Any) -> Any:
        """The value; CannotAsk or CannotCall if there is an error."""
        outcome = self._outcome(sent, **message)
        if outcome.error:
            raise (CannotAsk if message["do"] in ("http", "begin") else CannotCall)(outcome.error, sent())
        return outcome.value

    def _outcome(self, sent: Callable[[], str], **message: Any) -> Outcome:
        try:
            reply = wire.loads(self._side.handle(wire.dumps(message), self.limit))
        except TimeoutError:
            raise TimeoutError(sent()) from None
        error = reply.get("error")
        return Outcome(reply.get("value"), Raised(**error) if error else None)


class CannotAsk(Exception):
    """The app could not be put together, so `sent` could not be sent to it."""

    expected = "a module that can be put into the service"
    cause = "the module raises while it is loaded or added to the app"

    def __init__(self, error: Raised, sent: str = "") -> None:
        super().__init__(str(error))
        self.error, self.sent = error, sent


class CannotCall(CannotAsk):
    """What the check needs to go on, and `sent` should have given, is not there."""

    expected = "no error"
    cause = ""


def _parts(request: Request) -> dict[str, Any]:
    return {
        "method": request.method,
        "url": request.path,
        "params": dict(request.params) if request.params else None,
        "json": request.json,
        "headers": dict(request.headers),
        "content": request.content,
        "chunks": request.chunks,
        "files": [[name, *parts] for name, parts in request.uploads],
    }


def _reply(told: dict[str, Any]) -> Reply:
    return Reply(**{**told, "error": Raised(**told["error"]) if told["error"] else None})


def _calling(how: str, target: Target, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {"do": "call", "how": how, "target": target, "args": args, "kwargs": kwargs}


def _sent(requests: Sequence[Request]) -> str:
    return str(requests[0]) + (f" and {len(requests) - 1} more" if requests[1:] else "")


def _called(target: Target, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    given = [_short(value) for value in args] + [f"{name}={_short(value)}" for name, value in kwargs.items()]
    return f"{_named(target)}({', '.join(given)})"


def _named(target: Target) -> str:
    if isinstance(target, tuple):
        return f"{target[0].type}.{target[1]}"
    return target.type if isinstance(target, Ref) else target


def _short(value: Any) -> str:
    text = str(value) if isinstance(value, wire.Array) else value.repr if isinstance(value, Ref) else repr(value)
    return text if len(text) <= 400 else text[:400] + " …"
