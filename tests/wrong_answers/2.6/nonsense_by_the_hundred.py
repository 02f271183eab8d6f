# earns: more than a person would read
from typing import Any


def bad_requests() -> list[dict[str, Any]]:
    return [{"image_url": "https://example.com/cat.jpg", "top_k": top_k} for top_k in range(11, 500)]
