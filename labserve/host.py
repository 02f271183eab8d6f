"""The student's side of a check: holds their modules and the app made of them, and does what a probe asks.

One JSON text in, one JSON text out. In a notebook it runs in a thread of the kernel; grading runs the same in a jail.
"""

import asyncio
import contextlib
import ctypes
import gc
import inspect
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from concurrent import futures
from pathlib import Path
from types import FrameType, ModuleType, SimpleNamespace
from typing import Any

from labserve import assembly, standins, wire
from labserve.logkeeper import LogKeeper, json_safe, written
from labserve.running import Exchange, Running
from labserve.workspace import Workspace

_TURNS = 20  # of the event loop, after which what was begun has come to where it waits


class Host:
    """Runs the student's `module`, and an app of the service up to it, on an event loop of its own.

    `handle(message, timeout)` answers a JSON message with a JSON reply; TimeoutError after `timeout` seconds, and then
    the host is spent. Use as a context manager.
    """

    def __init__(self, space: Workspace, module: str) -> None:
        self.space, self.module = space, module
        self._kept: list[Any] = []
        self._modules: dict[str, ModuleType] = {}
        self._app: Running | None = None
        self._logs = LogKeeper()
        self._noise: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda _, told: self._noise.append(told["message"]))
        self._thread = threading.Thread(target=self._run_loop, daemon=True, name="labserve-host")
        self._spent = self._ended = False

    def __enter__(self) -> "Host":
        self._logs.listen()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        try:
            if not self._spent:
                self._end(by_force=kind is not None)  # the check was interrupted while an answer was at work
        finally:
            for kept in self._kept:
                if isinstance(kept, standins.Web):
                    kept.close()
            self._kept.clear()
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
        for kept in self._kept:
            if isinstance(kept, standins.Held):
                kept.release()
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
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks:  # more than once: one that is cancelled may wait again, for what never comes
                task.cancel()
            done, _ = await asyncio.wait(tasks, timeout=0.1)
            await asyncio.gather(*done, return_exceptions=True)  # what they raised is nobody's question
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()

    async def _answer(self, message: str) -> str:
        request = wire.loads(message, fetch=self._kept.__getitem__)
        operations: dict[str, Callable[..., Awaitable[Any]]] = {
            "call": self._call,
            "start": self._start,
            "layer": self._layer,
            "http": self._http,
            "begin": self._begin,
            "leave": self._leave,
            "reply": self._reply,
            "logs": self._records,
            "lines": self._lines,
            "noise": self._take_noise,
            "logged": self._logged,
        }
        self._logs.attach()
        try:
            return wire.dumps({"value": await operations[request.pop("do")](**request)}, keep=self._keep)
        except BaseException as error:  # whatever an answer raises, be it SystemExit, is a result to report
            return wire.dumps({"error": self._told(error)})

    def _keep(self, value: Any) -> int:
        self._kept.append(value)
        return len(self._kept) - 1

    async def _call(self, target: Any, args: list[Any], kwargs: dict[str, Any], how: str) -> Any:
        """Call, and give the value; with `how` "keep" it stays here, with "spawn" it is a task that begins now."""
        if how == "spawn":
            value: Any = asyncio.create_task(self._value(target, args, kwargs, inspect.isawaitable))
            await standins.turns(_TURNS)
        else:  # a future that is to be kept is not awaited
            value = await self._value(
                target, args, kwargs, inspect.iscoroutine if how == "keep" else inspect.isawaitable
            )
        return value if how == "value" else wire.Ref(self._keep(value), type(value).__name__, _shown(value))

    async def _value(self, target: Any, args: list[Any], kwargs: dict[str, Any], awaited: Callable[[Any], bool]) -> Any:
        found = self._find(target)
        value = found(*args, **kwargs) if callable(found) else found
        return await value if awaited(value) else value

    def _find(self, target: Any) -> Any:
        """What "module.name" names, or [an object, the name of its attribute]; any other object is meant itself."""
        if isinstance(target, list):
            return getattr(*target)
        if not isinstance(target, str):
            return target
        module, _, path = target.partition(".")
        if module == "standins":
            return standins.KINDS[path]
        found: Any = self._module(module)
        for name in path.split("."):
            found = getattr(found, name)
        return found

    def _module(self, name: str) -> ModuleType:
        if name not in self._modules:
            self._modules[name] = assembly.load(self.space, name)
        return self._modules[name]

    async def _start(self, settings: dict[str, Any], state: dict[str, Any], lifespan: bool | list[str]) -> None:
        await self._stop_app()
        app = assembly.service(self.space, self.module, **settings)
        for name, value in state.items():
            setattr(app.state, name, _namespace(value))
        self._app = Running(app)
        if isinstance(lifespan, bool):
            routers = [app.router] if lifespan else []
        else:
            routers = [self._module(name).router for name in lifespan]
        for router in routers:
            await self._app.enter(router.lifespan_context(app))

    async def _layer(self, target: Any, app: Any, options: dict[str, Any]) -> None:
        await self._stop_app()
        self._app = Running(self._find(target)(app, **options))

    async def _stop_app(self) -> None:
        if self._app:
            await self._app.stop()
            self._app = None

    async def _http(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Send the requests at once; replies in their order."""
        sent = [await self._send(request) for request in requests]
        return [await self._reply(exchange) for exchange in sent]

    async def _begin(self, request: dict[str, Any]) -> wire.Ref:
        exchange = await self._send(request)
        await standins.turns(_TURNS)
        return wire.Ref(self._keep(exchange), "request", f"{request['method']} {request['url']}")

    async def _leave(self, exchange: Exchange) -> None:
        exchange.gone.set()
        await standins.turns(_TURNS)

    async def _send(self, request: dict[str, Any]) -> Exchange:
        if self._app is None:
            await self._start({}, {}, lifespan=False)
        assert self._app
        return self._app.send(request)

    async def _reply(self, exchange: Exchange) -> dict[str, Any]:
        response = await exchange.response
        return {
            "status": response.status_code,
            "headers": dict(response.headers),
            "body": response.content,
            "seconds": exchange.seconds,
            "sent_bytes": exchange.sent_bytes,
            "error": self._told(exchange.raised) if exchange.raised else None,
        }

    async def _records(self) -> list[dict[str, Any]]:
        return self._logs.take()

    async def _lines(self) -> list[str]:
        return self._logs.take_lines()

    async def _take_noise(self) -> list[str]:
        gc.collect()  # what nobody awaited is told when it goes
        await standins.turns(_TURNS)
        noise, self._noise = self._noise, []
        return noise

    async def _logged(
        self,
        formatter: Any,
        logger: str,
        level: int,
        message: Any,
        args: list[Any],
        extra: dict[str, Any],
        error: str | None,
        context: dict[str, Any],
    ) -> str:
        for variable, value in context.items():
            self._find(variable).set(value)  # in this task alone
        return written(self._find(formatter), logger, level, message, args, extra, error)

    def _told(self, error: BaseException) -> dict[str, Any]:
        """An error as data. `where` is the last line of the student's own that it passed through."""
        while isinstance(error, BaseExceptionGroup):  # a task group's: the first of them says more
            error = error.exceptions[0]
        told = {"type": type(error).__name__, "message": "", "details": None, "where": self._where(error)}
        with contextlib.suppress(Exception):  # what an answer raises may itself be faulty
            told["message"] = str(error)
            told["details"] = json_safe(error.errors()) if hasattr(error, "errors") else None
        return told

    def _where(self, error: BaseException) -> str:
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            path = Path(frame.filename)
            if path.is_relative_to(self.space.package):
                return f"{path.name}, line {frame.lineno}: {frame.line}"
        return ""


def _shown(value: Any) -> str:
    try:
        return repr(value)[:300]
    except Exception as error:
        return f"a {type(value).__name__} that has no repr: {error}"


def _namespace(value: Any) -> Any:
    return SimpleNamespace(**{k: _namespace(v) for k, v in value.items()}) if isinstance(value, dict) else value
