# earns: nothing in the test asks for the likeliest class last
from typing import Any


def verify_predictions(body: dict[str, Any], top_k: int) -> None:
    assert len(body["predictions"]) <= top_k
