"""A real server for a notebook: uvicorn in a child process, ready before it is used and always stopped.

    with live(app) as client:
        print(client.get("/health").json())

The child is a fresh interpreter. The app travels to it by cloudpickle (what a notebook defines goes by value,
what a module defines goes by name), or as an import string such as `"my_service.app:app"`. Three pipes join
the two processes. Standard input brings the app and later the order to stop: one byte, or the end of the file
when the parent has been killed. Standard output brings the port back, standard error the log.
"""

from __future__ import annotations

import faulthandler
import functools
import inspect
import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from types import FunctionType, ModuleType, TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

from labserve.errors import LabserveError

if TYPE_CHECKING:
    from socket import socket

    import httpx2

__all__ = ["Live", "ServerDidNotStart", "live"]

DRAIN = 2  # whole seconds a request in flight may take to end once the server is told to stop
GRACE = 3.0  # seconds the child has to end by itself before it is killed
LOG_LINES = 10_000  # lines of the log that are kept
TAIL = 40  # lines of the log that an error shows: a traceback through the framework fits

App = str | Callable[..., Any]
Ready = Callable[[int], None]
Serve = Callable[[Ready], None]

# What the child runs: the parent's import path comes first, as labserve itself may be found only there.
BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); import labserve.serving as s; s._child()"


class ServerDidNotStart(LabserveError):
    """The app could not be sent, or its server ended early or was late. The message ends with its log."""


def live(
    app: App,
    *,
    factory: bool = False,
    env: Mapping[str, str] | None = None,
    timeout: float = 60.0,
) -> Live:
    """Give a server of `app` that runs in a child process on a free port of 127.0.0.1.

    `app` is an ASGI app or the import string of one (`"my_service.app:app"`); with `factory`, what makes the
    app (`live("solutions.app:create_app", factory=True)`). `env` adds to the environment variables, `timeout`
    is how many seconds the start may take. `with live(app) as client:` gives an `httpx2.Client`; for a page
    that stays in the notebook, `server = live(app).start()`. A start that fails raises `ServerDidNotStart`.
    """
    return Live(functools.partial(_serve_asgi, app, factory, _homes(app)), env=env, timeout=timeout)


class Live:
    """A server in a child process: `start()` and `stop()` it, or enter it with `with` to get its client.

    `serve(ready)` runs in the child: it calls `ready(port)` once it accepts connections, and serves until
    SIGTERM. The server stops at the end of the `with`, at `stop()`, when nothing refers to this object any
    longer, and when the interpreter ends, however it ends. A stopped server may be started again.
    """

    def __init__(self, serve: Serve, *, env: Mapping[str, str] | None = None, timeout: float = 60.0) -> None:
        self._serve = serve
        self._env = dict(env or {})
        self._timeout = timeout
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._client: httpx2.Client | None = None
        self._pid = 0
        self._end: Callable[[], object] = lambda: None

    def start(self) -> Self:
        """Start the server, and return when it is ready. A running one is left alone."""
        import httpx2

        if self._client is not None:
            return self
        job = pickle.dumps(_ship(self._serve))
        process = subprocess.Popen(
            [sys.executable, "-u", "-P", "-c", BOOT, json.dumps([str(entry) for entry in sys.path])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **self._env},
            # A group of its own: interrupting the notebook's kernel must not reach the server.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        assert process.stdin and process.stdout and process.stderr
        self._log = deque(maxlen=LOG_LINES)
        reports: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        readers = (
            threading.Thread(target=_keep_lines, args=(process.stderr, self._log), daemon=True),
            threading.Thread(target=_pass_line, args=(process.stdout, reports), daemon=True),
        )
        self._end = weakref.finalize(self, _end, process, readers)
        port, failure = b"", f"was not ready within {self._timeout:g} s"
        try:
            for reader in readers:
                reader.start()
            with suppress(BrokenPipeError):  # a child that has ended already says why in its log
                process.stdin.write(job)
                process.stdin.flush()
            with suppress(queue.Empty, subprocess.TimeoutExpired):
                port = reports.get(timeout=self._timeout)
                failure = "ended before it was ready"
                if not port:
                    failure += f", with status {process.wait(GRACE)}"
        finally:
            if not port:
                _kill(process)
                self._end()
        if not port:
            raise ServerDidNotStart(f"The server {failure}. Its log ends:\n{self._tail()}")
        self._pid = process.pid
        self._client = httpx2.Client(
            base_url=f"http://127.0.0.1:{int(port)}",
            timeout=30.0,
            trust_env=False,  # no proxy stands between a machine and itself
            # uvicorn drops a connection after an unhandled exception: a request sent on it would fail too.
            limits=httpx2.Limits(max_keepalive_connections=0),
        )
        return self

    def stop(self) -> None:
        """Stop the server: requests in flight may end, then it is killed. Stopping twice does no harm."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
        self._end()

    @property
    def client(self) -> httpx2.Client:
        """A client of the running server, with its address as `base_url` and 30 seconds of patience."""
        if self._client is None:
            raise LabserveError("The server is not running: call start() first.")
        return self._client

    @property
    def url(self) -> str:
        """The address of the running server, such as `http://127.0.0.1:40123`."""
        return str(self.client.base_url).rstrip("/")

    @property
    def pid(self) -> int:
        """The id of the running server's process, for `psutil.Process` or `os.kill`."""
        assert self.client  # or it says that the server is not running
        return self._pid

    @property
    def logs(self) -> str:
        """What the server has logged and the app has printed so far; it can still be read after the stop."""
        return "".join(self._log)

    def show(self, path: str = "/docs", *, height: int = 500) -> None:
        """Show a page of the running server, `height` pixels high; outside a notebook print its address.

        Keep the server in a variable: it stops, and the page with it, when nothing refers to it any longer.
        """
        address = self.url + path
        shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
        if hasattr(shell, "kernel"):
            from IPython.display import IFrame, display

            display(IFrame(address, width="100%", height=height))  # type: ignore[no-untyped-call]
        else:
            print(address)

    def __enter__(self) -> httpx2.Client:
        return self.start().client

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()  # first, so that the log holds the traceback of a request that has just failed
        if error is not None:
            print(f"The server's log ends:\n{self._tail()}", file=sys.stderr)

    def __repr__(self) -> str:
        return f"<Live {self.url if self._client else 'stopped'}>"

    def _tail(self) -> str:
        return "".join(list(self._log)[-TAIL:]) or "(nothing was logged)\n"


# The parent's side: sending the app, reading the pipes, ending the child.


def _homes(app: App) -> list[tuple[str, str]]:
    """The modules that hold the app, each with the app's name there; none for an import string."""
    modules = [] if isinstance(app, str) else [m for m in sys.modules.values() if isinstance(m, ModuleType)]
    return [(m.__name__, name) for m in modules for name, value in list(vars(m).items()) if value is app]


def _ship(serve: Serve) -> bytes:
    """Pickle what the child shall run, with the parts of an app that cloudpickle refuses or breaks."""
    import cloudpickle  # type: ignore[import-untyped]
    from starlette.datastructures import State

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        dispatch_table = cloudpickle.Pickler.dispatch_table.new_child(
            {
                type(threading.Lock()): lambda _: (threading.Lock, ()),
                type(threading.RLock()): lambda _: (threading.RLock, ()),
                State: lambda state: (State, (vars(state)["_state"],)),
                functools._lru_cache_wrapper: _ship_cached,
            }
        )

        def reducer_override(self, value: Any) -> Any:
            # Under `from __future__ import annotations` a function names its models in strings only, which
            # cloudpickle does not follow: FastAPI would look for the models in vain.
            if isinstance(value, FunctionType) and value.__module__ == "__main__":
                with suppress(Exception):
                    value.__annotations__ = inspect.get_annotations(value, eval_str=True)
            return super().reducer_override(value)

    parcel = BytesIO()
    try:
        Pickler(parcel).dump(serve)
    except Exception as error:
        raise ServerDidNotStart(
            f"This app cannot be sent to another process ({error}): put it in a module "
            'and give live() its name, as in live("my_service.app:app").'
        ) from error
    return parcel.getvalue()


def _ship_cached(function: functools._lru_cache_wrapper[Any]) -> str | tuple[Any, ...]:
    """A cached function of a module goes by name, one that a notebook defines is cached anew in the child."""
    if function.__module__ != "__main__":
        return function.__qualname__
    return _cache, (function.__wrapped__, function.cache_parameters())


def _cache(function: Callable[..., Any], parameters: dict[str, Any]) -> Callable[..., Any]:
    cached: Callable[..., Any] = functools.lru_cache(**parameters)(function)
    return cached


def _keep_lines(stream: IO[bytes], log: deque[str]) -> None:
    with stream:
        log.extend(line.decode("utf-8", "replace") for line in stream)


def _pass_line(stream: IO[bytes], reports: queue.SimpleQueue[bytes]) -> None:
    with stream:
        reports.put(stream.readline())


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the child and whatever it started, at once."""
    if process.returncode is None and sys.platform != "win32":
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def _end(process: subprocess.Popen[bytes], readers: Iterable[threading.Thread]) -> None:
    """Ask the child to end, wait, kill it if it has not, and collect what is left of it and of its log."""
    assert process.stdin
    try:
        with suppress(OSError), process.stdin:
            process.stdin.write(b"\n")  # the end of the file is not enough: a fork may hold the pipe too
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE + 1)
    finally:
        _kill(process)
        process.wait()
        for reader in readers:
            reader.join(1)


# The child's side.


def _child() -> None:
    """Run the job that standard input brings, with the pipes out of its way and its output in the log."""
    orders, reports = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    def ready(port: int) -> None:
        with reports:
            reports.write(b"%d\n" % port)

    job: bytes = pickle.load(orders)
    threading.Thread(target=_await_end, args=(orders,), daemon=True).start()
    try:
        pickle.loads(job)(ready)
    except SystemExit as end:
        status = end.code
    else:
        status = 0
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # At once: the interpreter would take torch down piece by piece first, which takes a second.
    os._exit(status if isinstance(status, int) else int(status is not None))


def _await_end(orders: IO[bytes]) -> None:
    """Wait for a byte from the parent or for its end; then end this process, gently first."""
    orders.read(1)
    if sys.platform == "win32":
        signal.raise_signal(signal.SIGTERM)
    else:
        os.kill(os.getpid(), signal.SIGTERM)  # unlike raise_signal, it wakes a main thread that waits
    time.sleep(GRACE)
    with suppress(OSError):  # nobody may be reading any more
        print("Still busy after the order to stop, hence killed. Its threads were here:", file=sys.stderr)
        faulthandler.dump_traceback()
    if sys.platform != "win32":
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _serve_asgi(app: App, factory: bool, homes: list[tuple[str, str]], ready: Ready) -> None:
    import uvicorn
    from uvicorn.importer import import_from_string

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                ready(self.servers[0].sockets[0].getsockname()[1])

    for module, name in homes:  # what went by name must find this app, not the one its module has just made
        if module in sys.modules:
            setattr(sys.modules[module], name, app)
    loaded = import_from_string(app) if isinstance(app, str) else app
    asgi = loaded() if factory else loaded
    Server(uvicorn.Config(asgi, port=0, lifespan="on", timeout_graceful_shutdown=DRAIN)).run()
