"""What a check puts in the place of something real, on the student's side: a model, an app, the network.

`KINDS` has them by the names that `probe.make` knows. Each can be seen at work, and held while a check looks, so that
queues, batches and drains are tried without sleeping.
"""

import asyncio
import io
import logging
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from PIL.Image import Image

_log = logging.getLogger("standin")

Message = MutableMapping[str, Any]


async def turns(number: int) -> None:
    """Let the event loop turn, so that all that can go on without waiting has gone on."""
    for _ in range(number):
        await asyncio.sleep(0)


def request(path: str, method: str = "GET") -> Any:
    """A Starlette request without headers or body, for functions that take one."""
    from starlette.requests import Request

    where = {"scheme": "http", "server": ("testserver", 80), "path": path, "raw_path": path.encode(), "root_path": ""}
    return Request({"type": "http", "method": method, "query_string": b"", "headers": [], "state": {}} | where)


def engine(raises: BaseException) -> Callable[..., Awaitable[None]]:
    """An `app.state.engine` that cannot do its work."""

    async def failing(*_: Any) -> None:
        raise raises

    return failing


class Held:
    """Something whose runs are counted, and wait while it is held. `threads` has the name of each run's thread."""

    def __init__(self) -> None:
        self.threads: list[str] = []
        self._failing: set[int] = set()
        self._loop, self._loop_thread = asyncio.get_running_loop(), threading.get_ident()
        self._gate, self._news, self._lock = threading.Event(), asyncio.Event(), threading.Lock()
        self._gate.set()

    def hold(self) -> None:
        """Have every run wait that begins from now on."""
        self._gate.clear()

    def release(self) -> None:
        self._gate.set()
        self._tell()

    def fail_on(self, number: int) -> None:
        """Have this run, counted from 1, raise RuntimeError."""
        self._failing.add(number)

    async def wait(self, number: int) -> None:
        """Return when so many runs have begun."""
        while len(self.threads) < number:
            await self._news.wait()

    def _begin(self) -> None:
        with self._lock:
            self.threads.append(threading.current_thread().name)
            failing = len(self.threads) in self._failing
        self._tell()
        if failing:
            raise RuntimeError("out of memory")

    def _pass(self) -> None:
        """Wait, in a thread, until nobody holds."""
        if not self._gate.is_set() and threading.get_ident() == self._loop_thread:
            raise RuntimeError("this runs on the event loop's own thread, and holds up everything")
        self._gate.wait()

    async def _pass_on_loop(self) -> None:
        while not self._gate.is_set():
            await self._news.wait()

    def _tell(self) -> None:
        def tell() -> None:
            self._news.set()
            self._news = asyncio.Event()

        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(tell)


class Recorder(Held):
    """A callable that keeps what it is given: `calls` has the arguments of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[Any]] = []

    def __call__(self, *args: Any) -> None:
        self.calls.append([*args])
        self._begin()


class Classifier(Held):
    """Has what the app asks of a Classifier. The mean red, green and blue of a picture are its first three classes.

    They are scaled to a sum of 1, all other classes are 0; its embedding is (red, green, blue, 1) in shares of 255. A
    run takes `seconds`; `batches` has the number of pictures in each.
    """

    def __init__(
        self, labels: Sequence[str] = ("red", "green", "blue"), seconds: float = 0.0, name: str = "standin"
    ) -> None:
        import torch

        super().__init__()
        self.name, self.labels, self.precision, self.device = name, [*labels], "fp32", torch.device("cpu")
        self.batches: list[int] = []
        self._seconds = seconds

    def run(self, images: "Sequence[Image]") -> SimpleNamespace:
        """Probabilities (pictures, classes) and embeddings (pictures, 4), float32; RuntimeError for no pictures."""
        import torch

        self.batches.append(len(images))
        self._begin()
        self._pass()
        time.sleep(self._seconds)
        means = torch.stack([torch.tensor(_mean(image)) for image in images])
        probabilities = torch.zeros(len(images), len(self.labels))
        probabilities[:, :3] = (means + 1e-6) / (means + 1e-6).sum(dim=1, keepdim=True)
        embeddings = torch.cat([means, torch.ones(len(images), 1)], dim=1)
        return SimpleNamespace(probabilities=probabilities, embeddings=embeddings)


def _mean(image: "Image") -> list[float]:
    pixels = image.convert("RGB").resize((1, 1), resample=4).getpixel((0, 0))  # 4: the mean of the box
    assert isinstance(pixels, tuple)
    return [value / 255 for value in pixels]


class Work(Held):
    """A `run` for a Batcher: b"seen " before each upload, ValueError for one that starts with b"bad".

    `seen` has the uploads of each run, `batches` how many they were.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seen: list[list[bytes]] = []
        self._seconds = seconds

    @property
    def batches(self) -> list[int]:
        return [len(batch) for batch in self.seen]

    def __call__(self, batch: Sequence[bytes]) -> list[bytes | Exception]:
        self.seen.append([*batch])
        self._begin()
        self._pass()
        time.sleep(self._seconds)
        return [ValueError(f"{data!r}") if data.startswith(b"bad") else b"seen " + data for data in batch]


class App(Held):
    """The smallest ASGI app: answers with the number of bytes in the body. Other scopes than "http" are only counted.

    `scopes` has the type of each scope, `bytes_read` is the sum over all bodies, `at_once` the most requests that were
    in it at the same time; with `read=False` it answers unread. With `logs=True` the logger "standin" says "in the
    endpoint", "in a thread", and, after the answer, "in the background".
    """

    def __init__(self, *, status: int = 200, read: bool = True, logs: bool = False) -> None:
        super().__init__()
        self.scopes: list[str] = []
        self.bytes_read = self.at_once = self._inside = 0
        self._status, self._read, self._logs = status, read, logs

    @property
    def entered(self) -> int:
        return len(self.scopes)

    async def __call__(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        self.scopes.append(scope["type"])
        self._inside += 1
        self.at_once = max(self.at_once, self._inside)
        try:
            self._begin()
            await self._pass_on_loop()
            if scope["type"] != "http":
                return
            length = await self._length(receive) if self._read else 0
            if self._logs:
                _log.info("in the endpoint")
                await asyncio.to_thread(_log.info, "in a thread")
            body = str(length).encode()
            head = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": self._status, "headers": head})
            await send({"type": "http.response.body", "body": body})
            if self._logs:
                asyncio.get_running_loop().call_soon(_log.info, "in the background")
                await asyncio.sleep(0)
        finally:
            self._inside -= 1

    async def _length(self, receive: Callable[[], Awaitable[Message]]) -> int:
        length, more = 0, True
        while more:
            message = await receive()
            length += len(message.get("body", b""))
            self.bytes_read += len(message.get("body", b""))
            more = message.get("more_body", False)
        return length


class Queue(asyncio.Queue[Any]):
    """A queue that counts in `asked` how often it was asked for something, so that a busy wait shows."""

    def __init__(self, items: Sequence[Any] = (), maxsize: int = 0) -> None:
        super().__init__(maxsize)
        self.asked = 0
        for item in items:
            self.put_nowait(item)

    def empty(self) -> bool:
        self.asked += 1
        return super().empty()

    def qsize(self) -> int:
        self.asked += 1
        return super().qsize()


class Entered:
    """A context manager, entered; `leave` leaves it, in the task that entered it, as task groups and timeouts ask."""

    def __init__(self, manager: Any) -> None:
        self.value: Any = None
        self._leaving = asyncio.Event()
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._live(manager, started))
        self._started = started

    async def leave(self) -> None:
        self._leaving.set()
        await self._task

    async def _live(self, manager: Any, started: "asyncio.Future[None]") -> None:
        try:
            if hasattr(manager, "__aenter__"):
                async with manager as self.value:
                    started.set_result(None)
                    await self._leaving.wait()
            else:
                with manager as self.value:
                    started.set_result(None)
                    await self._leaving.wait()
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)


async def enter(manager: Any) -> Entered:
    """Enter a context manager, of either kind; what it raises is raised here."""
    entered = Entered(manager)
    await entered._started
    return entered


class Web:
    """The internet in miniature: a server on 127.0.0.1 and what names mean, for this process, until `close`.

    `pages` maps a path to (status, headers, body); where the body is None it comes byte by byte and never ends, and
    "{port}" in a header is the server's. `names` maps a host to what its look-ups give, one after the other, the last
    one repeated: an address, or a list of them. A connection to one of these addresses, whichever port, reaches the
    server; anywhere else but to this machine it is refused. Other names than these and localhost do not exist.
    """

    def __init__(self, pages: Mapping[str, Sequence[Any]], names: Mapping[str, Sequence[Any]] | None = None) -> None:
        self.served: list[list[str]] = []
        self.lookups: list[str] = []
        self.dialled: list[str] = []
        self._pages = pages
        self._names = {"localhost": ["127.0.0.1"]} | {name: [*answers] for name, answers in (names or {}).items()}
        self._ours = {address for answers in self._names.values() for answer in answers for address in _several(answer)}
        self._over = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self._look_up, self._connect = socket.getaddrinfo, socket.socket.connect
        self._patches = ExitStack()
        self._patches.enter_context(mock.patch.object(socket, "getaddrinfo", self._answer))

        def dial(sock: socket.socket, address: Any) -> None:  # a plain function becomes a method of the socket
            self._dial(sock, address)

        self._patches.enter_context(mock.patch.object(socket.socket, "connect", dial))

    def close(self) -> None:
        self._patches.close()
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        """socket.getaddrinfo: numeric hosts as ever, names as given."""
        flags |= socket.AI_NUMERICHOST
        name = host.decode() if isinstance(host, bytes) else host
        with suppress(socket.gaierror):
            return self._look_up(name, port, family, type, proto, flags)
        name = str(name).rstrip(".").lower()
        self.lookups.append(name)
        answers = self._names.get(name) or [name]  # a name that is not known is no number either: it does not exist
        addresses = _several(answers.pop(0) if len(answers) > 1 else answers[0])
        return [info for address in addresses for info in self._look_up(address, port, family, type, proto, flags)]

    def _dial(self, sock: socket.socket, address: Any) -> None:
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            host, port = address[:2]
            local = host in ("localhost", "::1") or host.startswith("127.")
            self.dialled.append(f"{host}:{port}")
            if host in self._ours and sock.family == socket.AF_INET and not local:
                address = ("127.0.0.1", self.port)
            elif not local:
                raise ConnectionRefusedError(111, f"{host} is not to be reached from a check")
        self._connect(sock, address)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.served.append([self.path, self.headers["host"] or ""])
                status, headers, body = web._pages.get(self.path.partition("?")[0], (404, {}, b""))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value.replace("{port}", str(web.port)))
                if body is not None:
                    self.send_header("content-length", str(len(body)))
                self.end_headers()
                if body is not None:
                    self.wfile.write(body)
                    return
                while not web._over.wait(0.02):
                    self.wfile.write(b"\0")

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:  # a client that left
        pass


def _several(answer: Any) -> list[str]:
    return [answer] if isinstance(answer, str) else [*answer]


KINDS: Mapping[str, Callable[..., Any]] = {
    "object": SimpleNamespace,  # a bare one with these attributes
    "error": RuntimeError,
    "stream": io.StringIO,
    "future": lambda: asyncio.get_running_loop().create_future(),
    "queue": Queue,
    "request": request,
    "engine": engine,
    "recorder": Recorder,
    "classifier": Classifier,
    "work": Work,
    "app": App,
    "web": Web,
    "entered": enter,
    "turns": turns,
    "stall": time.sleep,  # on the event loop, which it blocks
}
