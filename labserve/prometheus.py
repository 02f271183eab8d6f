"""A real Prometheus beside a running service, and `promtool`.

    with Prometheus(server.url) as prometheus:
        prometheus.wait(5)
        print(prometheus.query("sum(rate(http_requests_total[10s]))"))

Both programs come with Debian's and Ubuntu's package `prometheus`.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from labserve.errors import LabserveError
from labserve.serving import Live, Ready

if TYPE_CHECKING:
    import httpx2

__all__ = ["Prometheus", "promtool"]

JOB = "labserve"
PATIENCE = 10.0  # seconds that a scrape may be late, or promtool take
LOOK = 0.1  # seconds from one look to the next, at what is waited for

Samples = list[tuple[dict[str, str], float]]


class Prometheus:
    """Prometheus, scraping `/metrics` of the service at `url` every `every` seconds, in a process of its own.

    `rules` is a file of rules that it evaluates as often; query `ALERTS` to see which alerts are on. The service's
    job is "labserve". `server` is the `Live` that runs it: its address, its log, and `server.show("/graph")`.
    Its first scrape comes about 5 s after its start, however short `every` is. What it stored is gone when it stops.
    Raises LabserveError where Prometheus is not installed.
    """

    def __init__(self, url: str | httpx2.URL, *, rules: str | Path | None = None, every: float = 1.0) -> None:
        self._every = every
        config = _config(str(url), every, Path(rules).resolve() if rules else None)
        self.server = Live(partial(_serve, _program("prometheus"), config))

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.stop()

    def wait(self, scrapes: int = 1) -> None:
        """Return when the service has been scraped so many times more; LabserveError if that takes too long."""
        wanted = self._scraped() + scrapes
        deadline = time.monotonic() + scrapes * self._every + PATIENCE
        while self._scraped() < wanted:
            if time.monotonic() > deadline:
                raise LabserveError(f"Prometheus cannot scrape the service: {self._trouble()}")
            time.sleep(LOOK)

    def query(self, expression: str) -> Samples:
        """What an expression of PromQL comes to now: a list of (labels, value), empty if nothing fits.

        Raises LabserveError, with Prometheus' own words, for an expression that it cannot read.
        """
        answer = self._ask("/api/v1/query", query=expression)
        if answer["status"] != "success":
            raise LabserveError(f"Prometheus cannot answer {expression}: {answer['error']}")
        kind, result = answer["data"]["resultType"], answer["data"]["result"]
        if kind == "scalar":
            return [({}, float(result[1]))]
        if kind != "vector":
            raise LabserveError(
                f"{expression} gives a {kind}: ask for a value, as with rate(...) or count_over_time(...)."
            )
        return [(sample["metric"], float(sample["value"][1])) for sample in result]

    def _scraped(self) -> int:
        """How many scrapes have succeeded and are stored."""
        return int(sum(value for _, value in self.query(f'sum_over_time(up{{job="{JOB}"}}[1d])')))

    def _trouble(self) -> str:
        targets = self._ask("/api/v1/targets", state="active")["data"]["activeTargets"]
        errors = [str(target["lastError"]) for target in targets if target["lastError"]]
        return "; ".join(errors) or "no scrape has ended in time."

    def _ask(self, path: str, **params: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.server.client.get(path, params=params).json()
        return answer


def promtool(*arguments: str | Path, input: str | None = None) -> str:
    """Run promtool, give it `input` to read, and return what it prints: "" where it has nothing to say.

    Raises LabserveError with what it found where it ends in failure, or where it is not installed.
    """
    command = [_program("promtool"), *map(str, arguments)]
    done = subprocess.run(command, input=input or "", capture_output=True, text=True, timeout=PATIENCE)
    found = "\n".join(part for part in (done.stdout.strip(), done.stderr.strip()) if part)
    if done.returncode:
        raise LabserveError(f"promtool {' '.join(map(str, arguments))} found fault:\n{found}")
    return found


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise LabserveError(
            f"{name} is not installed here: `apt install prometheus` on Debian or Ubuntu, `brew install prometheus` "
            "on a Mac, or https://prometheus.io/download."
        )
    return path


def _config(url: str, every: float, rules: Path | None) -> str:
    """The configuration, as JSON, which is YAML too."""
    address, interval = urlsplit(url), f"{every * 1000:.0f}ms"
    return json.dumps(
        {
            "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
            "rule_files": [str(rules)] if rules else [],
            "scrape_configs": [
                {"job_name": JOB, "scheme": address.scheme, "static_configs": [{"targets": [address.netloc]}]}
            ],
        }
    )


def _serve(program: str, config: str, ready: Ready) -> None:
    """Run Prometheus until SIGTERM; `ready` is told its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "prometheus.yml")
        file.write_text(config)
        process = subprocess.Popen(
            [
                program,
                f"--config.file={file}",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=warn",
            ]
        )
        try:
            while process.poll() is None and not _is_ready(port):
                time.sleep(LOOK)
            if process.returncode is None:
                ready(port)
                process.wait()
        finally:
            process.terminate()
            process.wait()


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"http://127.0.0.1:{port}/-/ready", timeout=PATIENCE
        ):
            return True
    except OSError:
        return False
