"""The student's side of a check: holds their modules and the app made of them, and does what a probe asks.

One JSON text in, one JSON text out. In a notebook it runs in a thread of the kernel; grading runs the same in a jail.
"""

import asyncio
import contextlib
import ctypes
import inspect
import logging
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from concurrent import futures
from contextvars import ContextVar
from pathlib import Path
from types import FrameType, ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from labserve import assembly, wire
from labserve.workspace import Workspace

if TYPE_CHECKING:
    from fastapi import FastAPI


class Host:
    """Runs the student's `module`, and an app of the service up to it, on an event loop of its own.

    `handle(message, timeout)` answers a JSON message with a JSON reply; TimeoutError after `timeout` seconds, and then
    the host is spent. Use as a context manager.
    """

    def __init__(self, space: Workspace, module: str) -> None:
        self.space, self.module = space, module
        self._kept: list[Any] = []
        self._modules: dict[str, ModuleType] = {}
        self._app: _Running | None = None
        self._logs = _LogKeeper()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, daemon=True, name="labserve-host")
        self._spent = self._ended = False

    def __enter__(self) -> "Host":
        self._logs.attach()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        try:
            if not self._spent:
                self._end(by_force=kind is not None)  # the check was interrupted while an answer was at work
        finally:
            self._logs.detach()

    def handle(self, message: str, timeout: float) -> str:
        if self._spent:
            raise TimeoutError
        future = asyncio.run_coroutine_threadsafe(self._answer(message), self._loop)
        if not futures.wait([future], timeout).done:
            self._end(by_force=True)
            raise TimeoutError
        return future.result()

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        while not self._ended:
            with contextlib.suppress(SystemExit, KeyboardInterrupt):  # of an answer, which is told: asyncio lets it out
                self._loop.run_forever()
        self._loop.close()

    def _end(self, *, by_force: bool = False) -> None:
        """End what the answer started: its app, its tasks; by force, or if that takes a second, its loops without end.

        SystemExit raised in a thread ends it and prints nothing. It is raised more than once, as an answer may catch
        it; a thread that sleeps ends when it wakes.
        """
        self._spent = True
        finish = self._finish()
        ending = asyncio.run_coroutine_threadsafe(finish, self._loop)
        ended = bool(futures.wait([ending], 0.1 if by_force else 1.0).done)
        if by_force or not ended:
            deadline = time.monotonic() + 1.0
            while (self._interrupt() or not ending.done()) and time.monotonic() < deadline:
                time.sleep(0.05)
            assembly.forget()  # a module may hold what is broken now, such as a pool of threads
        self._ended = True
        if inspect.getcoroutinestate(finish) == inspect.CORO_CREATED:  # the loop is stuck and never came to it
            finish.close()
        self._loop.set_exception_handler(lambda *_: None)  # what is left lying there needs no word on stderr
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(0.1)

    def _interrupt(self) -> bool:
        """Raise SystemExit in every thread that is in the student's code; the loop's own only if it is stuck.

        False if there is none. Threads elsewhere are left alone: they wait for work, or are about to end.
        """
        turn = threading.Event()
        self._loop.call_soon_threadsafe(turn.set)
        threads = set(threading.enumerate()) - {threading.current_thread()}
        if turn.wait(0.02):
            threads.discard(self._thread)
        frames = sys._current_frames()
        busy = [thread for thread in threads if thread.ident in frames and self._is_theirs(frames[thread.ident])]
        for thread in busy:
            ident = ctypes.c_ulong(thread.ident or 0)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(SystemExit))
        return bool(busy)

    def _is_theirs(self, frame: FrameType) -> bool:
        files = (Path(frame.f_code.co_filename) for frame, _ in traceback.walk_stack(frame))
        return any(file.is_relative_to(self.space.package) for file in files)

    async def _finish(self) -> None:
        """End the app, then every task, then the threads of the loop."""
        await self._stop_app()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()

    async def _answer(self, message: str) -> str:
        request = wire.loads(message, fetch=self._kept.__getitem__)
        operations: dict[str, Callable[..., Awaitable[Any]]] = {
            "call": self._call,
            "start": self._start,
            "http": self._http,
            "logs": self._records,
        }
        self._logs.attach()
        try:
            return wire.dumps(await operations[request.pop("do")](**request), keep=self._keep)
        except BaseException as error:  # whatever an answer raises, be it SystemExit, is a result to report
            return wire.dumps({"error": self._told(error)})

    def _keep(self, value: Any) -> int:
        self._kept.append(value)
        return len(self._kept) - 1

    async def _call(self, target: str, args: list[Any], kwargs: dict[str, Any], on: Any = None) -> dict[str, Any]:
        function = getattr(on, target) if on is not None else self._find(target)
        if not callable(function):
            return {"value": function}
        value = function(*args, **kwargs)
        return {"value": await value if inspect.isawaitable(value) else value}

    def _find(self, target: str) -> Any:
        module, _, path = target.partition(".")
        if module not in self._modules:
            self._modules[module] = assembly.load(self.space, module)
        found: Any = self._modules[module]
        for name in path.split("."):
            found = getattr(found, name)
        return found

    async def _start(self, settings: dict[str, Any], state: dict[str, Any], lifespan: bool) -> dict[str, Any]:
        await self._stop_app()
        app = assembly.service(self.space, self.module, **settings)
        for name, value in state.items():
            setattr(app.state, name, _namespace(value))
        self._app = _Running(app)
        if lifespan:
            await self._app.start()
        return {}

    async def _stop_app(self) -> None:
        if self._app:
            await self._app.stop()
            self._app = None

    async def _http(self, requests: list[dict[str, Any]]) -> dict[str, Any]:
        """Send the requests at once; replies in their order."""
        if self._app is None:
            await self._start({}, {}, lifespan=False)
        assert self._app
        return {"value": await asyncio.gather(*(self._exchange(self._app, request) for request in requests))}

    async def _exchange(self, running: "_Running", request: dict[str, Any]) -> dict[str, Any]:
        files = request.pop("files", [])
        request["files"] = [(name, tuple(parts)) for name, *parts in files] or None
        started = time.perf_counter()
        response, raised = await running.send(request)
        return {
            "status": response.status_code,
            "headers": dict(response.headers),
            "body": response.content,
            "seconds": time.perf_counter() - started,
            "error": self._told(raised) if raised else None,
        }

    async def _records(self) -> dict[str, Any]:
        return {"value": self._logs.take()}

    def _told(self, error: BaseException) -> dict[str, Any]:
        """An error as data. `where` is the last line of the student's own that it passed through."""
        while isinstance(error, BaseExceptionGroup):  # a task group's: the first of them says more
            error = error.exceptions[0]
        told = {"type": type(error).__name__, "message": "", "details": None, "where": self._where(error)}
        with contextlib.suppress(Exception):  # what an answer raises may itself be faulty
            told["message"] = str(error)
            told["details"] = _json_safe(error.errors()) if hasattr(error, "errors") else None
        return told

    def _where(self, error: BaseException) -> str:
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            path = Path(frame.filename)
            if path.is_relative_to(self.space.package):
                return f"{path.name}, line {frame.lineno}: {frame.line}"
        return ""


class _Running:
    """An app with its lifespan, and a client that talks to it without a socket."""

    def __init__(self, app: "FastAPI") -> None:
        import httpx2

        self._app = app
        self._raised: ContextVar[list[BaseException]] = ContextVar("raised")
        transport = httpx2.ASGITransport(app=self._recording, raise_app_exceptions=False)
        self._client = httpx2.AsyncClient(transport=transport, base_url="http://testserver")
        self._stopping = asyncio.Event()
        self._lifespan: asyncio.Task[None] | None = None
        self._state: Mapping[str, Any] = {}

    async def start(self) -> None:
        started = asyncio.get_running_loop().create_future()
        self._lifespan = asyncio.create_task(self._live(started))
        await started

    async def stop(self) -> None:
        self._stopping.set()
        if self._lifespan:
            await self._lifespan
        await self._client.aclose()

    async def send(self, request: dict[str, Any]) -> tuple[Any, BaseException | None]:
        """The response, and what the app raised while it made it."""
        raised: list[BaseException] = []
        self._raised.set(raised)
        response = await self._client.request(**request)
        return response, raised[0] if raised else None

    async def _live(self, started: "asyncio.Future[None]") -> None:
        """Enter and leave the lifespan in one task, as anyio asks."""
        try:
            async with self._app.router.lifespan_context(self._app) as state:
                self._state = state or {}
                started.set_result(None)
                await self._stopping.wait()
        except BaseException as error:
            if not started.done():  # what is raised at the end is nobody's question
                started.set_exception(error)

    async def _recording(self, scope: Any, receive: Any, send: Any) -> None:
        """The app, keeping what it raises, so that a check can say more than "500"."""
        try:
            await self._app({**scope, "state": dict(self._state)}, receive, send)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._raised.get().append(error)
            raise RuntimeError("the app raised") from error


class _LogKeeper(logging.Handler):
    """Keeps what is logged from INFO up, by any logger, as plain values."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._records: list[dict[str, Any]] = []
        self._level = logging.getLogger().level

    def attach(self) -> None:
        """Listen at the root; again and again, as an answer may set up logging of its own."""
        root = logging.getLogger()
        root.addHandler(self)
        root.setLevel(min(root.level, logging.INFO))

    def detach(self) -> None:
        logging.getLogger().removeHandler(self)
        logging.getLogger().setLevel(self._level)

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.name.startswith("httpx2")  # the client's own

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception as error:  # logging itself reports this on stderr and goes on
            message = f"{record.msg} with {record.args}: {type(error).__name__}: {error}"
        self._records.append({**_json_safe(vars(record)), "message": message})

    def take(self) -> list[dict[str, Any]]:
        taken, self._records = self._records, []
        return taken


def _namespace(value: Any) -> Any:
    return SimpleNamespace(**{k: _namespace(v) for k, v in value.items()}) if isinstance(value, dict) else value


def _json_safe(details: Any) -> Any:
    """pydantic's error details, whose context may hold an exception."""
    if isinstance(details, dict):
        return {str(key): _json_safe(value) for key, value in details.items()}
    if isinstance(details, list | tuple):
        return [_json_safe(item) for item in details]
    return details if isinstance(details, str | int | float | bool | None) else str(details)
