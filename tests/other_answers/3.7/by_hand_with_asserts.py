# another design: plain asserts, no schema
import math
from itertools import pairwise
from typing import Any


def verify_predictions(body: dict[str, Any], top_k: int) -> None:
    def number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

    model, took, predictions = (body.get(key) for key in ("model", "inference_time_ms", "predictions"))
    assert isinstance(model, str) and model, f"model is {model!r}"
    assert number(took) and took >= 0, f"time is {took!r}"
    assert isinstance(predictions, list) and len(predictions) <= top_k, "too many, or no list"
    seen = set()
    for prediction in predictions:
        name, confidence = prediction.get("class_name"), prediction.get("confidence")
        assert isinstance(name, str) and name, f"a name of {name!r}"
        assert not (name.startswith("class_") and name[6:].isdigit()), f"{name} is a placeholder"
        assert name not in seen, f"{name} twice"
        seen.add(name)
        assert number(confidence) and 0 <= confidence <= 1, f"a confidence of {confidence!r}"
    values = [prediction["confidence"] for prediction in predictions]
    assert all(first >= second for first, second in pairwise(values)), "rises"
    assert math.fsum(values) <= 1.001, "more than certain"
