# earns: nothing in the test asks for NaN
from typing import Any


def verify_predictions(body: dict[str, Any], top_k: int) -> None:
    predictions = body.get("predictions")
    assert isinstance(predictions, list), "no list of predictions"
    names = [prediction.get("class_name") for prediction in predictions]
    values = [prediction.get("confidence") for prediction in predictions]
    assert len(predictions) <= top_k
    assert len(set(names)) == len(names)
    assert not any(value < 0 or value > 1 for value in values)
    assert not any(b > a for a, b in zip(values, values[1:]))
    assert not sum(values) > 1.001
