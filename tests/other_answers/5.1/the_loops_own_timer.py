# another design: timers of the loop, by its own clock
import asyncio
from collections.abc import Callable


async def watch_lag(report: Callable[[float], object], tick: float = 0.05) -> None:
    """Report, every `tick` seconds and for ever, for how many seconds the event loop came back too late."""
    loop = asyncio.get_running_loop()
    while True:
        rung = asyncio.Event()
        due = loop.time() + tick
        timer = loop.call_at(due, rung.set)
        try:
            await rung.wait()
        finally:
            timer.cancel()
        lag = loop.time() - due
        report(lag if lag > 0 else 0.0)
