# earns: the test asks for more than the exercise promises
from typing import Any


def verify_predictions(body: dict[str, Any], top_k: int) -> None:
    assert len(body["predictions"]) == top_k
    assert sum(prediction["confidence"] for prediction in body["predictions"]) <= 1
