"""What a service does under load: answers a second, how long they take, and whether `/health` still answers.

result = await load(server.url, clients=8, seconds=3)
print(table({"now": result}))
plot({"before": earlier, "now": result})
"""

from __future__ import annotations

import asyncio
import math
import textwrap
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count, cycle
from typing import TYPE_CHECKING

from labserve import samples
from labserve.client import Connection, pulse, upload
from labserve.errors import LabserveError

if TYPE_CHECKING:
    import httpx2
    from matplotlib.figure import Figure

__all__ = ["Load", "finding", "load", "percentile", "plot", "table"]

PATIENCE = 15.0  # seconds that a client waits for an answer
PAUSE = 0.05  # seconds before a client tries again where no answer came
LEVEL = 1.1  # what lies within a tenth of the best is called its equal

# Okabe and Ito's colours, which colour-blind readers can tell apart, each with a line of its own for print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Load:
    """What came of a load. All times are in seconds."""

    clients: int
    seconds: float  # from the first request to the last answer, the length of the load at least
    statuses: Mapping[int, int]  # how often each status came; 0 where the connection broke or no answer came in time
    latencies: tuple[float, ...]  # of the good answers, the quickest first
    health: tuple[
        tuple[float, float], ...
    ]  # (when it was asked, how long the answer took), see `labserve.client.pulse`
    client_cpu: float  # the share of one core that the client itself used

    @property
    def good(self) -> int:
        """How many answers had status 200."""
        return self.statuses.get(200, 0)

    @property
    def refused(self) -> int:
        """How many requests the service declined for now: 503 and 429."""
        return self.statuses.get(503, 0) + self.statuses.get(429, 0)

    @property
    def failed(self) -> int:
        """How many had any other status, or no answer."""
        return sum(self.statuses.values()) - self.good - self.refused

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.good / self.seconds

    @property
    def p50(self) -> float:
        """Half of the good answers came within this time; NaN if there was none."""
        return percentile(self.latencies, 50)

    @property
    def p99(self) -> float:
        """99 of 100 good answers came within this time; NaN if there was none."""
        return percentile(self.latencies, 99)

    @property
    def health_p99(self) -> float:
        """99 of 100 questions to `/health` were answered within this time; `inf` if they were not answered."""
        return percentile(sorted(latency for _, latency in self.health), 99)

    @property
    def health_worst(self) -> float:
        """The longest that an answer of `/health` took; `inf` if one never came."""
        return max(latency for _, latency in self.health)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest of the ordered values that `percent` of them do not exceed; NaN if there are none."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else math.nan


async def load(
    url: str | httpx2.URL,
    *,
    clients: int = 8,
    seconds: float = 3.0,
    path: str = "/predict",
    picture: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Load:
    """Post pictures to `path` from `clients` clients for `seconds`, and ask `/health` every 20 ms meanwhile.

    Each client has one connection and sends its next picture as soon as its last is answered; they take the sample
    pictures in turn, or all send `picture`. `headers` are added. One request goes ahead, uncounted, to warm the
    service up. Nothing waits longer than `PATIENCE` for an answer. LabserveError if nothing listens at `url`.
    """
    address = str(url)
    pictures = [picture] if picture is not None else [samples.path(name).read_bytes() for name in samples.names()]
    requests = [upload(path, data, headers=headers) for data in pictures]
    await _warm_up(address, requests[0])
    statuses: Counter[int] = Counter()
    latencies: list[float] = []
    last = 0.0
    start, cpu = time.perf_counter(), time.thread_time()

    async def client(number: int) -> None:
        nonlocal last
        connection = Connection(address)
        try:
            for turn in count(number):
                sent = time.perf_counter() - start
                if sent >= seconds:
                    break
                try:
                    status = await connection.send(requests[turn % len(requests)], PATIENCE)
                except OSError:
                    statuses[0] += 1
                    await asyncio.sleep(PAUSE)
                    continue
                last = time.perf_counter() - start
                statuses[status] += 1
                if status == 200:
                    latencies.append(last - sent)
        finally:
            connection.close()

    async with pulse(address, PATIENCE) as health, asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(client(number))
    elapsed = time.perf_counter() - start
    return Load(
        clients=clients,
        seconds=max(seconds, last),
        statuses=dict(sorted(statuses.items())),
        latencies=tuple(sorted(latencies)),
        health=tuple(health),
        client_cpu=(time.thread_time() - cpu) / elapsed,
    )


async def _warm_up(address: str, request: bytes) -> None:
    connection = Connection(address)
    try:
        await connection.send(request, PATIENCE)
    except ConnectionRefusedError:
        raise LabserveError(f"Nothing listens at {address}: start the server first.") from None
    except OSError:
        pass  # the load itself will show it
    finally:
        connection.close()


def table(results: Mapping[str, Load]) -> str:
    """The results as lines of text, one for each name; times in milliseconds."""
    head = ("", "answers/s", "p50 ms", "p99 ms", "refused", "failed", "/health p99 ms", "worst ms", "client CPU")
    body = [
        (
            name,
            f"{result.rate:,.1f}",
            milliseconds(result.p50),
            milliseconds(result.p99),
            f"{result.refused:,}",
            f"{result.failed:,}",
            milliseconds(result.health_p99),
            milliseconds(result.health_worst),
            f"{result.client_cpu:.0%}",
        )
        for name, result in results.items()
    ]
    return columns([head, *body])


def finding(results: Mapping[str, Load]) -> str:
    """What came out: who gave most answers, and how long `/health` took."""
    rates = {name: result.rate for name, result in results.items()}
    waits = {name: result.health_p99 for name, result in results.items()}
    most, least = max(rates.values()), min(rates.values())
    best = " and ".join(name for name, rate in rates.items() if rate * LEVEL >= most)
    last = " and ".join(name for name, rate in rates.items() if rate <= least * LEVEL)
    slow, quick = max(waits, key=waits.__getitem__), min(waits, key=waits.__getitem__)
    if not most:
        speed = "Not one good answer came"
    elif len(results) == 1:
        speed = f"{best}: {most:,.0f} answers a second, half of them within {milliseconds(results[best].p50)} ms"
    elif best == last:
        speed = f"All give about {most:,.0f} answers a second"
    else:
        less = f"{most / least:.1f} times as many as {last}" if least else f"{last} none"
        speed = f"{best}: {most:,.0f} answers a second, {less}"
    told = f"{speed}. /health, 99 times of 100: {_wait(results[quick])}"
    if len(results) == 1:
        return f"{told}."
    if waits[slow] <= waits[quick] * LEVEL:
        return f"{told}, whichever it is."
    return f"{told} with {quick}, {_wait(results[slow])} with {slow}."


def _wait(result: Load) -> str:
    if math.isinf(result.health_p99):
        lost = sum(math.isinf(latency) for _, latency in result.health) / len(result.health)
        return f"no answer to {lost:.0%} of the questions"
    return f"within {milliseconds(result.health_p99)} ms"


def plot(results: Mapping[str, Load]) -> Figure:
    """Print the table and the finding; draw how long `/health` took over time, and the good answers a second."""
    from matplotlib import pyplot as plt

    print(table(results))
    print()
    print(textwrap.fill(finding(results), 100))
    figure, (beats, rates) = plt.subplots(1, 2, figsize=(10, 3.6), width_ratios=(3, 2), layout="constrained")
    beats.set(
        title="GET /health meanwhile", xlabel="seconds since the load began", ylabel="milliseconds until the answer"
    )
    beats.set_yscale("log")
    beats.yaxis.set_major_formatter("{x:g}")
    beats.grid(alpha=0.3)
    rates.set(title="Uploads", xlabel="good answers a second (more is better)")
    styles = zip(cycle(COLOURS), cycle(LINES))
    colours = []
    for (name, result), (colour, line) in zip(results.items(), styles, strict=False):
        times, latencies = zip(*result.health, strict=True)
        beats.plot(times, [latency * 1000 for latency in latencies], line, color=colour, label=name)
        colours.append(colour)
    beats.set_ylim(bottom=0.5)  # below lie questions that fell due just before the end of a stall
    bars = rates.barh(range(len(results)), [result.rate for result in results.values()], 0.6, color=colours)
    rates.bar_label(bars, fmt="{:,.0f}", padding=3)
    rates.set_yticks(range(len(results)), list(results))
    rates.margins(x=0.15)
    rates.invert_yaxis()
    figure.legend(*beats.get_legend_handles_labels(), loc="outside lower left", ncols=4)
    plt.close(figure)  # a notebook then shows it once, as the value of its cell
    return figure


def columns(rows: Sequence[Sequence[str]]) -> str:
    """The rows in columns as wide as they need be, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([name.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]).rstrip() for name, *cells in rows
    )


def milliseconds(seconds: float) -> str:
    """A time for a table, in milliseconds: "never" for one that is infinite, "-" for none."""
    if math.isnan(seconds):
        return "-"
    return "never" if math.isinf(seconds) else f"{seconds * 1000:,.0f}"
