# earns: a line's status is a number, the label of a counter a text
import re
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any


def requests_counted(exposition: str) -> Tally[tuple[str, str, str]]:
    told: Tally[tuple[str, str, str]] = Tally()
    for labels, value in re.findall(r"^http_requests_total{(.*)} (\S+)$", exposition, re.M):
        found = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if found["route"] != "/metrics":
            told[found["method"], found["route"], found["status"]] += round(float(value))
    return told


def verify_join(sent: Mapping[str, int], lines: Sequence[Mapping[str, Any]], before: str, after: str) -> None:
    lines_of: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    keys = []
    for line in lines:
        if line.get("route") != "/metrics":
            lines_of[line.get("request_id")].append(line)
            keys.append((line.get("method"), line.get("route"), line.get("status")))
    for given in sent.keys() | lines_of.keys():
        if given not in sent:
            raise AssertionError(f"nobody sent {given}")
        if len(lines_of[given]) != 1:
            raise AssertionError(f"{given} has {len(lines_of[given])} lines")
        if lines_of[given][0].get("status") != sent[given]:
            raise AssertionError(f"{given} was answered {sent[given]}")
    first, last = requests_counted(before), requests_counted(after)
    for key in {*first, *last, *keys}:
        if last[key] - first[key] != keys.count(key):
            raise AssertionError(f"{key} rose by {last[key] - first[key]}, and has {keys.count(key)} lines")
