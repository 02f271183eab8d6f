# earns: two that are equally likely
from typing import Any


def verify_predictions(body: dict[str, Any], top_k: int) -> None:
    predictions = body.get("predictions")
    assert isinstance(predictions, list), "no list of predictions"
    names = [prediction.get("class_name") for prediction in predictions]
    values = [prediction.get("confidence") for prediction in predictions]
    assert all(a > b for a, b in zip(values, values[1:]))
