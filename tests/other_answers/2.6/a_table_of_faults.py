# another design: a table of faults, each laid over a request that names every field
from typing import Any


def bad_requests() -> list[dict[str, Any]]:
    faults: dict[str, list[Any]] = {
        "image_url": [
            None,
            "https://:80/cat.jpg",
            "file:///etc/passwd",
            "https://me@example.com/",
            "gopher://example.com/",
        ],
        "model_name": ["ResNet18"],
        "top_k": [-3, 10**6],
        "threshold": [float("-inf"), 50],
        "colour": ["grey"],
    }
    good = {"image_url": "https://example.com/a.png", "model_name": "resnet50", "top_k": 1, "threshold": 0.5}
    return [{**good, name: value} for name, values in faults.items() for value in values]
