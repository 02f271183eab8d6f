# earns: there is nothing wrong with this request
from typing import Any


def bad_requests() -> list[dict[str, Any]]:
    good = {"image_url": "https://example.com/cat.jpg"}
    return [
        {},
        good | {"image_url": "http://"},
        good | {"image_url": "ftp://example.com/cat.jpg"},
        good | {"image_url": "https://user:secret@example.com/cat.jpg"},
        good | {"model_name": "resnet999"},
        good | {"top_k": 0},
        good | {"top_k": 11},
        good | {"threshold": -0.1},
        good | {"threshold": 1.1},
        good | {"topk": 3},
        good,
        good | {"top_k": 10},
    ]
