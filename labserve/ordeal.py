"""The tray against a running service: what it answers to each upload, what that takes, and who waits meanwhile.

server = live(app).start()
print(matrix({"mine": await ordeal(server)}))
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from labserve.client import Connection, pulse, upload
from labserve.load import columns, milliseconds
from labserve.serving import Live
from labserve.tray import Hostile, tray

__all__ = ["Row", "matrix", "ordeal"]

PATIENCE = 30.0  # seconds that an upload may take
SAMPLING = 0.005  # seconds from one look at the server's memory to the next
# What a naive service takes, with a margin (4.9 and 0.9 GB measured). Where less is free, the upload is not sent.
NEEDS_GB = {"thin line": 6.0, "bomb below Pillow's limit": 1.5}

# Where a container's bound on memory stands, and what is used of it: cgroup v2, then v1.
CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


@dataclass(frozen=True)
class Row:
    """How one upload of the tray went."""

    name: str
    expected: int  # the status a good service answers
    status: int  # the status that came; 0 where none did
    seconds: float
    peak_mb: float  # by how many million bytes the server's resident memory grew meanwhile, at most
    health_worst: float  # the longest that `/health` took meanwhile, in seconds; `inf` if it never answered
    note: str = ""  # why there is no status

    @property
    def right(self) -> bool:
        """Whether the service did what a good one does."""
        return self.status == self.expected


async def ordeal(server: Live, uploads: Sequence[Hostile] | None = None) -> list[Row]:
    """Send each of `uploads`, by default the whole tray, to `/predict`, one after the other, and watch the server.

    `server` is a started one. If it dies, or has not answered within 30 s, it is started anew for the next upload, and
    has another address then. What this machine has too little memory for is not sent, and the row's `note` says so.
    """
    rows = []
    for hostile in tray() if uploads is None else uploads:
        needs, free = NEEDS_GB.get(hostile.name, 0.0), free_memory() / 1e9
        if free < needs:
            note = f"not sent: it can take {needs:g} GB, and {free:.1f} GB are free here"
            rows.append(Row(hostile.name, hostile.expected, 0, 0.0, 0.0, 0.0, note))
            continue
        rows.append(await _undergo(server, hostile))
        if not rows[-1].status:
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.start)
    return rows


async def _undergo(server: Live, hostile: Hostile) -> Row:
    data, connection, status, note = hostile.data, Connection(server.url), 0, ""
    request = upload("/predict", data, filename=hostile.filename, content_type=hostile.content_type)
    async with pulse(server.url, PATIENCE) as health, _memory(server.pid) as grown:
        started = time.perf_counter()
        try:
            status = await connection.send(request, PATIENCE)
        except TimeoutError:
            note = f"no answer within {PATIENCE:g} s"
        except OSError:
            note = "the connection broke"
        finally:
            connection.close()
        seconds = time.perf_counter() - started
    worst = max(latency for _, latency in health)
    return Row(hostile.name, hostile.expected, status, seconds, max(grown) / 1e6, worst, note)


@asynccontextmanager
async def _memory(pid: int) -> AsyncIterator[list[int]]:
    """By how many bytes the resident memory of a process has grown, looked at every 5 ms while the block runs."""
    import psutil  # type: ignore[import-untyped]

    process = psutil.Process(pid)
    before, grown = process.memory_info().rss, [0]

    def look() -> None:
        with suppress(psutil.Error):  # it has died
            grown.append(process.memory_info().rss - before)

    async def watch() -> None:
        while True:
            look()
            await asyncio.sleep(SAMPLING)

    task = asyncio.create_task(watch())
    try:
        yield grown
        look()
    finally:
        task.cancel()


def free_memory() -> int:
    """Bytes that a process may still take here, within the bounds of a container if this is one."""
    import psutil

    free = int(psutil.virtual_memory().available)
    for bound, used in CGROUPS:
        with suppress(OSError, ValueError):  # there is none, or it says "max"
            limit, usage = int(Path(bound).read_text()), int(Path(used).read_text())
            cache = re.search(r"^inactive_file (\d+)", Path(bound).with_name("memory.stat").read_text(), re.MULTILINE)
            free = min(free, limit - usage + int(cache[1] if cache else 0))
    return free


def matrix(ordeals: Mapping[str, Sequence[Row]]) -> str:
    """The ordeals side by side as lines of text, a line for each upload, and below what they come to."""
    head = ["", "right"]
    body = [[row.name, str(row.expected)] for row in next(iter(ordeals.values()))]
    for name, rows in ordeals.items():
        head += [f"| {name}", "s", "MB", "/health ms"]
        for line, row in zip(body, rows, strict=True):
            line += _cells(row)
    notes = [f"{name}, {row.name}: {row.note}." for name, rows in ordeals.items() for row in rows if row.note]
    legend = (
        "*: not the status that a good service answers. MB: memory that the server took. "
        "/health: its slowest answer meanwhile."
    )
    return "\n".join([columns([head, *body]), "", legend, *notes, *map(_sum, ordeals, ordeals.values())])


def _cells(row: Row) -> list[str]:
    status = f"| {row.status or 'none':>4}{' ' if row.right else '*'}"
    if not row.seconds:
        return [status, "-", "-", "-"]
    return [status, f"{row.seconds:.2f}", f"{row.peak_mb:,.0f}", milliseconds(row.health_worst)]


def _sum(name: str, rows: Sequence[Row]) -> str:
    most, slowest = max(rows, key=lambda row: row.peak_mb), max(rows, key=lambda row: row.health_worst)
    waits = milliseconds(slowest.health_worst)
    return (
        f"{name}: {sum(row.right for row in rows)} of {len(rows)} right; at most {most.peak_mb:,.0f} MB ({most.name}); "
        f"/health {waits if waits == 'never' else f'within {waits} ms'} at its slowest ({slowest.name})."
    )
