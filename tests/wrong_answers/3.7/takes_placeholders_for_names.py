# earns: a number in place of a name
from typing import Any


def verify_predictions(body: dict[str, Any], top_k: int) -> None:
    predictions = body.get("predictions")
    assert isinstance(predictions, list), "no list of predictions"
    names = [prediction.get("class_name") for prediction in predictions]
    values = [prediction.get("confidence") for prediction in predictions]
    assert len(predictions) <= top_k
    assert all(isinstance(name, str) for name in names)
    assert len(set(names)) == len(names)
    assert all(0 <= value <= 1 for value in values)
    assert values == sorted(values, reverse=True)
    assert sum(values) <= 1.001
