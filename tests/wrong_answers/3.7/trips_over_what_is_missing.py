# earns: also where a field is missing or of another type
import math
import re
from typing import Any


def verify_predictions(body: dict[str, Any], top_k: int) -> None:
    names = [prediction["class_name"] for prediction in body["predictions"]]
    values = [prediction["confidence"] for prediction in body["predictions"]]
    assert len(names) <= top_k
    assert len(set(names)) == len(names)
    assert all(name and not re.fullmatch(r"class_\d+", name) for name in names)
    assert all(0 <= value <= 1 for value in values)
    assert values == sorted(values, reverse=True)
    assert sum(values) <= 1.001
    assert body["model"]
    assert math.isfinite(body["inference_time_ms"])
    assert body["inference_time_ms"] >= 0
