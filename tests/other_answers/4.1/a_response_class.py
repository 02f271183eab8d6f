# another design: a JSONResponse of our own writes the body; the id is a header set afterwards
import json
import uuid
from collections.abc import Mapping, Sequence
from http.client import responses
from typing import Any
from fastapi import Request, Response
from fastapi.responses import JSONResponse


def request_id(request: Request) -> str:
    """The id of this request: made when it is first asked for, the same ever after."""
    if not hasattr(request.state, "request_id"):
        request.state.request_id = uuid.uuid4().hex
    return str(request.state.request_id)


def faults(errors: Sequence[Any]) -> list[dict[str, Any]]:
    """What is wrong with a request: loc, msg and type of the first 20 faults, without what was sent."""
    kept = []
    for error in errors:
        if len(kept) < 20:
            kept.append({"loc": error["loc"], "msg": error["msg"], "type": error["type"]})
    return kept


class _Problem(JSONResponse):
    media_type = "application/problem+json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content).encode("ascii")


def problem(
    request: Request, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any
) -> Response:
    """An error as `application/problem+json` (RFC 9457); `members` are added to its body."""
    body = {
        "type": "about:blank",
        "title": responses.get(status, "Error"),
        "status": status,
        "detail": detail,
        "instance": request.scope["path"],
        "request_id": request_id(request),
    }
    response = _Problem(body | members, status, dict(headers or {}))
    response.headers["X-Request-ID"] = request_id(request)
    return response
