# earns: hold each line's request_id and status
from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client.parser import text_string_to_metric_families


def requests_counted(exposition: str) -> Tally[tuple[str, str, str]]:
    """How often each (method, route, status) was counted in `http_requests_total`; those of /metrics left out."""
    told: Tally[tuple[str, str, str]] = Tally()
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if sample.name == "http_requests_total" and sample.labels["route"] != "/metrics":
                told[sample.labels["method"], sample.labels["route"], sample.labels["status"]] = int(sample.value)
    return told


def verify_join(sent: Mapping[str, int], lines: Sequence[Mapping[str, Any]], before: str, after: str) -> None:
    """Raise AssertionError, with the reason, unless log and counters tell the same story as the client.

    `sent` maps the id of each request that was sent to the status that came back; `lines` are the parsed lines of
    the access log; `before` and `after` are what `/metrics` said. Requests of `/metrics` itself are left out.
    """
    seen = [line for line in lines if line.get("route") != "/metrics"]

    assert Tally(line.get("request_id") for line in seen) == Tally(sent.keys()), "the ids differ"
    risen = requests_counted(after)
    risen.subtract(requests_counted(before))
    told = Tally((line.get("method"), line.get("route"), str(line.get("status"))) for line in seen)
    assert risen == told, "counters and log differ"
