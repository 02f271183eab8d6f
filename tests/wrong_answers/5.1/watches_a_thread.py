# earns: a thread of its own is on time whatever the loop does
import asyncio
import time
from collections.abc import Callable


def _nap(tick: float) -> float:
    started = time.perf_counter()
    time.sleep(tick)
    return max(0.0, time.perf_counter() - started - tick)


async def watch_lag(report: Callable[[float], object], tick: float = 0.05) -> None:
    """A plain function blocks nobody in a thread, so let it do the sleeping."""
    while True:
        report(await asyncio.to_thread(_nap, tick))
