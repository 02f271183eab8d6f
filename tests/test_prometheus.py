"""A real Prometheus and promtool, against the reference service and the rules that stand beside it."""

import os
import re
import shutil
from collections.abc import Iterator

import pytest

from labserve import places, prometheus, samples, zoo
from labserve.errors import LabserveError
from labserve.prometheus import Prometheus, promtool
from labserve.serving import Live, live

DEPLOYED = places.REFERENCE / "deploy" / "prometheus"

# In continuous integration its absence is a failure: these tests would pass unseen for ever.
needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")) and "CI" not in os.environ,
    reason="prometheus and promtool are not installed here: apt install prometheus",
)


@pytest.fixture(scope="module")
def service() -> Iterator[Live]:
    running = live("solutions.app:app", env={"LABSERVE_MODEL": zoo.BUNDLED}).start()
    yield running
    running.stop()


def upload(service: Live, *uploads: bytes) -> list[int]:
    return [service.client.post("/predict", files={"file": ("cat.jpg", data)}).status_code for data in uploads]


@needs_prometheus
@pytest.mark.parametrize(
    ("command", "file"),
    [
        (("check", "config"), "prometheus.yml"),
        (("check", "rules"), "alerts.yml"),
        (("test", "rules"), "alerts_test.yml"),
    ],
)
def test_promtool_is_content_with_what_is_deployed(command: tuple[str, str], file: str) -> None:
    assert "SUCCESS" in promtool(*command, DEPLOYED / file)


@needs_prometheus
def test_promtool_says_what_is_wrong() -> None:
    with pytest.raises(LabserveError, match=r"(?s)promtool check metrics found fault.*no help text"):
        promtool("check", "metrics", input="# TYPE asked_total counter\nasked_total 1\n")


def test_every_alert_is_tested_and_explained() -> None:
    rules, tests = (DEPLOYED / "alerts.yml").read_text(), (DEPLOYED / "alerts_test.yml").read_text()
    alerts = re.findall(r"- alert: (\w+)", rules)
    assert len(alerts) == len(set(alerts)) == 6
    for alert in alerts:
        assert re.search(rf"alertname: {alert}\n +exp_alerts:\n +- exp_labels", tests), f"{alert} is never on"
    for part in ("summary:", "remedy:", "severity:"):
        assert rules.count(part) == len(alerts)


def test_the_alerts_ask_for_metrics_that_the_service_has(service: Live) -> None:
    upload(service, samples.path("cat").read_bytes())
    exposition = service.client.get("/metrics").text
    asked = set(re.findall(r"\b(\w+)\{job=", (DEPLOYED / "alerts.yml").read_text())) - {"up"}
    assert len(asked) >= 4
    for name in asked:
        assert re.search(rf"^{name}[{{ ]", exposition, re.MULTILINE), f"{name} is not among the service's metrics"


@needs_prometheus
def test_promtool_finds_no_fault_with_the_metrics_of_the_service(service: Live) -> None:
    upload(service, samples.path("cat").read_bytes(), b"no picture")
    assert promtool("check", "metrics", input=service.client.get("/metrics").text) == ""


@needs_prometheus
def test_prometheus_answers_for_the_service_and_sees_it_go(monkeypatch: pytest.MonkeyPatch) -> None:
    service = live("solutions.app:app", env={"LABSERVE_MODEL": zoo.BUNDLED}).start()
    cat = samples.path("cat").read_bytes()
    mix = [cat, cat, cat, b"no picture"]
    with Prometheus(service.url, rules=DEPLOYED / "alerts.yml", every=0.5) as running:
        assert upload(service, *mix) == [200, 200, 200, 415]
        running.wait(1)
        upload(service, *mix, *mix)
        running.wait(2)

        predict = '{route="/predict"}[1m]'
        ((labels, rate),) = running.query(f"sum by (job) (rate(http_requests_total{predict}))")
        assert labels == {"job": "labserve"}
        assert rate > 0
        failing = 'sum(rate(http_requests_total{route="/predict", status!~"2.."}[1m]))'
        ((_, ratio),) = running.query(f"{failing} / sum(rate(http_requests_total{predict}))")
        assert ratio == pytest.approx(0.25)
        buckets = f"sum by (le) (rate(http_request_duration_seconds_bucket{predict}))"
        ((_, p95),) = running.query(f"histogram_quantile(0.95, {buckets})")
        assert 0 < p95 <= 5

        groups = running.server.client.get("/api/v1/rules").json()["data"]["groups"]
        assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"}
        assert running.query("ALERTS") == []
        assert running.query("nothing_of_that_name") == []
        assert running.query("1 + 1") == [({}, 2.0)]
        with pytest.raises(LabserveError, match=r"cannot answer rate\(: .*parse error"):
            running.query("rate(")
        with pytest.raises(LabserveError, match="gives a matrix: ask for a value"):
            running.query("up[5s]")

        service.stop()
        monkeypatch.setattr(prometheus, "PATIENCE", 2.0)
        with pytest.raises(LabserveError, match=r"cannot scrape the service: .*connection refused"):
            running.wait(1)
    assert "Received SIGTERM" in running.server.logs
    with pytest.raises(LabserveError, match="not running"):
        running.query("up")


def test_where_it_is_not_installed_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    for use in (lambda: Prometheus("http://127.0.0.1:8000"), lambda: promtool("--version")):
        with pytest.raises(LabserveError, match=r"^prom\w+ is not installed here: `apt install prometheus`.*$"):
            use()
