"""The lesson's table of web frameworks, measured on the reader's machine.

    result = compare()
    print(result.table())
    print(result.finding())
    plot(result)

The four apps that are compared stand side by side in `apps.py`.
"""

from __future__ import annotations

import ast
import inspect
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING, Any

from labserve.errors import LabserveError
from labserve.frameworks.apps import FRAMEWORKS, WAIT, serve
from labserve.frameworks.load import Load, load
from labserve.serving import Live

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Comparison", "Row", "compare", "plot", "share_of_request"]

PREDICT = "/predict?top_k=3"
WRONG_TYPE = "/predict?top_k=many"
LEVEL = 1.1  # a framework that takes up to a tenth longer than the best is called its equal


@dataclass(frozen=True)
class Row:
    """What was measured of one framework; each figure is the median of the rounds."""

    framework: str
    versions: str  # of the framework and of its server
    alone: float  # small answers per second over one connection, one request after the other
    together: float  # small answers per second over several connections at once
    waiting: float  # seconds until all of the requests that wait have their answers
    wrong_type: int  # status of the answer to top_k=many
    wrong_answer: str  # and its body
    lines: int  # lines of code of the handler and its route

    @property
    def overhead_us(self) -> float:
        """Microseconds of a request that computes nothing: framework, server, client and loopback."""
        return 1e6 / self.alone


@dataclass(frozen=True)
class Comparison:
    """The rows, and what one must know to read them."""

    rows: tuple[Row, ...]
    rounds: int
    connections: int
    waits: int
    threads: int
    spread: float  # the farthest that a round lies from its median, as a part of it
    client_cpu: float  # the most of one core that the client used, 0 to 1

    def table(self) -> str:
        """The table as plain text, with its conditions below."""
        alone = max(row.alone for row in self.rows)
        together = max(row.together for row in self.rows)
        waiting = min(row.waiting for row in self.rows)
        head = (
            "",
            "one by one, per s",
            f"{self.connections} at once, per s",
            f"{self.waits} waits of {WAIT * 1000:.0f} ms, s",
            "top_k=many",
            "lines",
        )
        body = [
            (
                row.versions,
                f"{row.alone:,.0f}  x{alone / row.alone:.1f}",
                f"{row.together:,.0f}  x{together / row.together:.1f}",
                f"{row.waiting:.2f}  x{row.waiting / waiting:.1f}",
                str(row.wrong_type),
                str(row.lines),
            )
            for row in self.rows
        ]
        widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
        lines = [
            "  ".join([name.ljust(widths[0]), *map(str.rjust, cells, widths[1:])])
            for name, *cells in (head, *body)  # the names to the left, the figures to the right
        ]
        return "\n".join(
            [
                *lines,
                "",
                "x1.5: takes 1.5 times as long as the best. "
                f"Median of {self.rounds} rounds, which lie up to {self.spread:.0%} off it.",
                f"One process each; Flask and Django with {self.threads} threads. "
                f"The client used up to {self.client_cpu:.0%} of a core.",
            ]
        )

    def finding(self) -> str:
        """What came out, in one sentence."""
        rows = self.rows
        most, least = max(row.together for row in rows), min(row.together for row in rows)
        quick, slow = min(row.waiting for row in rows), max(row.waiting for row in rows)
        first = [row for row in rows if row.together * LEVEL >= most]
        last = [row for row in rows if row.together <= least * LEVEL]
        soon = [row for row in rows if row.waiting <= quick * LEVEL]
        late = [row for row in rows if row.waiting * LEVEL >= slow]
        by_status = groupby(sorted(rows, key=_wrong_type), key=_wrong_type)
        answers = ", ".join(f"{status} from {_names(group)}" for status, group in by_status)
        return (
            f"Small answers come fastest from {_names(first)}, {most / least:.1f} times as many as from "
            f"{_names(last)}; {self.waits} requests that wait take {quick:.2f} s with {_names(soon)} and "
            f"{slow:.2f} s with {_names(late)}; a top_k of the wrong type gets {answers}."
        )

    def beside_a_model(self, forward_ms: float = 30.0) -> str:
        """What the table does not show: the framework's part when a model computes for `forward_ms`."""
        slow = min(self.rows, key=lambda row: row.alone)
        fast = max(self.rows, key=lambda row: row.alone)
        shares = [share_of_request(row.overhead_us, forward_ms) for row in (slow, fast)]
        before, after = (1e6 / (row.overhead_us + forward_ms * 1000) for row in (slow, fast))
        return (
            f"Beside a forward pass of {forward_ms:g} ms, the {slow.overhead_us:.0f} µs of {slow.framework} "
            f"are {shares[0]:.1%} of a request, the {fast.overhead_us:.0f} µs of {fast.framework} "
            f"{shares[1]:.1%}: the change from one to the other turns {before:.1f} predictions per second "
            f"into {after:.1f}."
        )


def compare(
    frameworks: Sequence[str] = tuple(FRAMEWORKS),
    *,
    rounds: int = 3,
    seconds: float = 0.2,
    connections: int = 16,
    waits: int = 32,
    threads: int = 4,
) -> Comparison:
    """Measure `frameworks` side by side, each in its own process, in interleaved rounds: about 13 seconds.

    In each round a framework gets small requests over one connection for `seconds`, the same over several
    `connections`, then `waits` requests at once that wait 100 ms each. `threads` is the size of the worker
    pool of Flask's and Django's server, 4 by default as it is there. Raises `LabserveError` for a framework
    that is not known or not installed.
    """
    versions = {name: _versions(name) for name in frameworks}
    tasks = {
        "alone": (PREDICT, 1, seconds),
        "together": (PREDICT, connections, seconds),
        "waiting": ("/features", waits, 0.0),
    }
    measured: dict[tuple[str, str], list[Load]] = defaultdict(list)
    with ExitStack() as stack:
        clients = {name: stack.enter_context(Live(partial(serve, name, threads))) for name in frameworks}
        ports = {name: client.base_url.port or 0 for name, client in clients.items()}
        for port in ports.values():  # the first requests pay for imports and caches
            load(port, PREDICT, connections=connections, seconds=seconds / 4)
        for _ in range(rounds):
            for name, port in ports.items():
                for task, (path, count, duration) in tasks.items():
                    measured[name, task].append(load(port, path, connections=count, seconds=duration))
        wrong = {name: client.get(WRONG_TYPE) for name, client in clients.items()}
    middle = {key: median(load.per_second for load in loads) for key, loads in measured.items()}
    rows = [
        Row(
            framework=name,
            versions=versions[name],
            alone=middle[name, "alone"],
            together=middle[name, "together"],
            waiting=waits / middle[name, "waiting"],
            wrong_type=wrong[name].status_code,
            wrong_answer=wrong[name].text,
            lines=_lines(name),
        )
        for name in frameworks
    ]
    return Comparison(
        rows=tuple(rows),
        rounds=rounds,
        connections=connections,
        waits=waits,
        threads=threads,
        spread=max(abs(load.per_second / middle[key] - 1) for key in measured for load in measured[key]),
        client_cpu=max(load.client_cpu / load.seconds for loads in measured.values() for load in loads),
    )


def share_of_request(overhead_us: float, forward_ms: float = 30.0) -> float:
    """The part of a request, 0 to 1, that is not the model's when the model computes for `forward_ms`."""
    return overhead_us / (overhead_us + forward_ms * 1000)


def plot(result: Comparison) -> Figure:
    """Draw the comparison: answers per second on the left, the requests that wait on the right."""
    from matplotlib import pyplot as plt

    names, places = [row.framework for row in result.rows], range(len(result.rows))
    figure, (rates, waits) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    rates.set(title="Small JSON answers", xlabel="answers per second (more is better)")
    waits.set(
        title=f"{result.waits} requests at once that wait {WAIT * 1000:.0f} ms each",
        xlabel="seconds until the last answer (less is better)",
    )
    upper, lower = [place - 0.2 for place in places], [place + 0.2 for place in places]
    alone, together = [row.alone for row in result.rows], [row.together for row in result.rows]
    bars = [
        rates.barh(upper, alone, 0.4, label="one by one"),
        rates.barh(lower, together, 0.4, label=f"{result.connections} at once", hatch="//"),
        waits.barh(places, [row.waiting for row in result.rows], 0.5, color="tab:gray"),
    ]
    for axes, drawn, form in zip((rates, rates, waits), bars, ("{:,.0f}", "{:,.0f}", "{:.2f}"), strict=True):
        axes.bar_label(drawn, fmt=form, padding=3)
    for axes in (rates, waits):
        axes.set_yticks(places, names)
        axes.margins(x=0.15)
        axes.invert_yaxis()
    figure.legend(*rates.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    plt.close(figure)  # a notebook then shows it once, as the value of its cell
    return figure


def _versions(framework: str) -> str:
    """The framework and its server with their versions, such as "Flask 3.1.3, waitress 3.0.2"."""
    if framework not in FRAMEWORKS:
        raise LabserveError(f"There is no framework {framework!r} here; there are {', '.join(FRAMEWORKS)}.")
    packages = dict.fromkeys([framework, FRAMEWORKS[framework][0]])  # Tornado is its own server
    try:
        return ", ".join(f"{package} {version(package)}" for package in packages)
    except PackageNotFoundError as error:
        raise LabserveError(f"{error.name} is not installed: run `pip install {error.name}`.") from None


def _wrong_type(row: Row) -> int:
    return row.wrong_type


def _names(rows: Iterable[Row]) -> str:
    return " and ".join(row.framework for row in rows)


def _lines(framework: str) -> int:
    """Count the lines of code of /predict: its definition, and its route where that stands elsewhere."""
    lines: set[int] = set()
    for node in ast.walk(ast.parse(inspect.getsource(FRAMEWORKS[framework][1]))):
        if str(getattr(node, "name", getattr(node, "id", None))).lower() == "predict":
            parts: list[Any] = [node, *getattr(node, "decorator_list", [])]
            lines.update(line for part in parts for line in range(part.lineno, part.end_lineno + 1))
    return len(lines)
