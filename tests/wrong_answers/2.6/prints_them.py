# earns: the list is not returned
from typing import Any


def bad_requests() -> list[dict[str, Any]]:
    good = {"image_url": "https://example.com/cat.jpg"}
    print([{}, good | {"top_k": 11}])
