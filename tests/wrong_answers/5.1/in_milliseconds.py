# earns: and the lag is in seconds
import asyncio
import time
from collections.abc import Callable


async def watch_lag(report: Callable[[float], object], tick: float = 0.05) -> None:
    """Report, every `tick` seconds and for ever, for how many seconds the event loop came back too late."""
    while True:
        due = time.perf_counter() + tick
        await asyncio.sleep(tick)
        report(max(0.0, (time.perf_counter() - due) * 1000))
