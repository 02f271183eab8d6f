# earns: headers is None when none are given
import json
import uuid
from collections.abc import Mapping, Sequence
from http.client import responses
from typing import Any
from fastapi import Request, Response


def request_id(request: Request) -> str:
    """The id of this request: made when it is first asked for, the same ever after."""
    if not hasattr(request.state, "request_id"):
        request.state.request_id = uuid.uuid4().hex
    return str(request.state.request_id)


def faults(errors: Sequence[Any]) -> list[dict[str, Any]]:
    """What is wrong with a request: loc, msg and type of the first 20 faults, without what was sent."""
    return [{key: error[key] for key in ("loc", "msg", "type")} for error in errors[:20]]


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
    # Plain ASCII: a client may have sent half a character, which UTF-8 cannot hold.
    headers = {"X-Request-ID": request_id(request), **headers}
    return Response(json.dumps(body | members), status, headers, media_type="application/problem+json")
