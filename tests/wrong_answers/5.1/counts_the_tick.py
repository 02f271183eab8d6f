# earns: the tick itself is no delay
import asyncio
import time
from collections.abc import Callable


async def watch_lag(report: Callable[[float], object], tick: float = 0.05) -> None:
    """Report, every `tick` seconds and for ever, for how many seconds the event loop came back too late."""
    while True:
        started = time.perf_counter()
        await asyncio.sleep(tick)
        report(time.perf_counter() - started)
