# earns: a dict, the JSON body of a request
from typing import Any


def bad_requests() -> list[dict[str, Any]]:
    return ["http://", "ftp://example.com/cat.jpg", "https://user:secret@example.com/cat.jpg"]
