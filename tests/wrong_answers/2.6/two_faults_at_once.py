# earns: this schema escapes you
from typing import Any


def bad_requests() -> list[dict[str, Any]]:
    return [
        {"image_url": "http://", "top_k": 0, "threshold": -1},
        {"image_url": "ftp://example.com/cat.jpg", "top_k": 5000, "threshold": 2},
        {"image_url": "https://me:secret@example.com/cat.jpg", "model_name": "banana", "topk": 3},
        {},
    ]
