"""Checks of chapter 4."""

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labserve.checking import check, expect
from labserve.probe import Outcome, Probe, Raised, Reply, Request
from labserve.wire import Ref

if TYPE_CHECKING:
    from PIL.Image import Image

_PROBLEM = "application/problem+json"
_SHAPE = {"type", "title", "status", "detail", "instance", "request_id"}


@dataclass(frozen=True)
class _Answer:
    """A response that a function of the student's gave, read."""

    sent: str
    outcome: Outcome
    status: Any = None
    headers: Mapping[str, str] | None = None
    body: Any = None

    def __str__(self) -> str:
        if self.outcome.error or self.headers is None:
            return str(self.outcome)
        return f"{self.status} {self.headers.get('content-type', '')} {self.body}"


_WHY_NOT = {
    "KeyError": "a number that HTTP does not know has no phrase: responses.get(status, …)",
    "UnicodeEncodeError": "ensure_ascii=False, or JSONResponse, writes UTF-8, which has no half characters",
}


def _why_not(error: Raised | None) -> str:
    """Why a function raised instead of giving a response."""
    if error and "NoneType" in error.message and "encode" not in error.message:  # what cannot be encoded is a value
        return "headers is None when none are given: headers or {}"
    return _WHY_NOT.get(error.type if error else "", "return Response(…), with the body as a text")


def _read(probe: Probe, sent: str, outcome: Outcome) -> _Answer:
    response = outcome.value
    expect(
        isinstance(response, Ref) and not probe.method(response, "raw_headers").error,
        sent=sent,
        got=outcome,
        expected="a Response",
        cause=_why_not(outcome.error),
    )
    headers = {
        name.decode("latin-1"): value.decode("latin-1") for name, value in _value(probe, response, "raw_headers")
    }
    body = Reply(200, {}, _value(probe, response, "body"), 0.0).json
    return _Answer(sent, outcome, _value(probe, response, "status_code"), headers, body)


def _value(probe: Probe, of: Ref, name: str) -> Any:
    return probe.method(of, name).value


def _problem(probe: Probe, request: Ref, status: int, detail: str, **more: Any) -> _Answer:
    """Call `problem`, and hold it to being one."""
    given = "".join(f", {name}={value!r}" for name, value in more.items())
    sent = f"problem(request, {status}, {detail!r}{given})"
    answer = _read(probe, sent, probe.call("errors.problem", request, status, detail, **more))
    expect(
        answer.status == status,
        sent=sent,
        got=answer,
        expected=f"a response of status {status}",
        cause="the status in the body is for the reader: the response needs it too, Response(body, status, …)",
    )
    expect(
        (answer.headers or {}).get("content-type", "").partition(";")[0] == _PROBLEM,
        sent=sent,
        got=answer,
        expected=f"the media type {_PROBLEM}",
        cause=f'pass media_type="{_PROBLEM}"; JSONResponse says application/json by itself',
    )
    expect(
        isinstance(answer.body, dict),
        sent=sent,
        got=answer,
        expected="a body that is a JSON object",
        cause="the body is the text that json.dumps makes of a dict",
    )
    return answer


def _request(probe: Probe, path: str) -> Ref:
    return probe.make("request", path)


@check("4.1")
def has_status_and_type(probe: Probe) -> None:
    """problem(request, 404, "…") is a response of status 404 and type application/problem+json"""
    _problem(probe, _request(probe, "/models/none"), 404, "There is no such model.")
    _problem(probe, _request(probe, "/predict"), probe.rng.choice([400, 405, 409, 503]), "No.")


@check("4.1")
def tells_the_fields(probe: Probe) -> None:
    """its body has type, title, status, detail and instance, as RFC 9457 names them"""
    titles = {400: "Bad Request", 404: "Not Found", 409: "Conflict", 503: "Service Unavailable", 599: "Error"}
    for status in (probe.rng.choice([400, 404, 409, 503]), 599):
        path, detail = f"/models/{probe.rng.randint(0, 10**6)}", f"Number {probe.rng.randint(0, 10**6)} is not here."
        answer = _problem(probe, _request(probe, path), status, detail)
        wanted = {
            "type": "about:blank",
            "title": titles[status],
            "status": status,
            "detail": detail,
            "instance": path,
        }
        for name, value in wanted.items():
            expect(
                answer.body.get(name) == value,
                sent=f"{answer.sent}, for {path}",
                got=answer,
                expected=f'"{name}": {value!r}',
                cause="a number that HTTP does not know has no phrase: responses.get(status, …)"
                if status == 599 and name == "title"
                else f'the member "{name}" is missing, or has another value',
            )


@check("4.1")
def quotes_the_id(probe: Probe) -> None:
    """the id of the request stands in the body and in the header X-Request-ID, and is another for each request"""
    seen = []
    for _ in range(2):
        request = _request(probe, "/predict")
        answer = _problem(probe, request, 503, "The model is being loaded.")
        known = probe.call("errors.request_id", request).value
        expect(
            answer.body.get("request_id") == known and (answer.headers or {}).get("x-request-id") == known,
            sent=f"{answer.sent}, and then request_id(request), which is {known!r}",
            got=f"request_id {answer.body.get('request_id')!r}, X-Request-ID {dict(answer.headers or {})}",
            expected=f"{known!r} in both places",
            cause="request_id(request) gives the same id each time: ask it, rather than making another",
        )
        seen.append(known)
    expect(
        seen[0] != seen[1] and all(isinstance(one, str) and one for one in seen),
        sent="request_id(request) for two requests",
        got=seen,
        expected="two different texts",
        cause="the id is made once for all: make it in the function, and keep it on request.state",
    )


@check("4.1")
def adds_what_is_given(probe: Probe) -> None:
    """headers and further members that are passed in are added to it"""
    seconds = str(probe.rng.randint(1, 300))
    members = {"errors": [{"msg": "too low"}], "limit": probe.rng.randint(1, 99)}
    answer = _problem(probe, _request(probe, "/predict"), 503, "Full.", headers={"Retry-After": seconds}, **members)
    headers = answer.headers or {}
    expect(
        headers.get("retry-after") == seconds and "x-request-id" in headers,
        sent=answer.sent,
        got=f"the headers {dict(headers)}",
        expected=f"Retry-After: {seconds}, and X-Request-ID",
        cause="the headers passed in replace yours, or are left out: put the two dicts together",
    )
    expect(
        all(answer.body.get(name) == value for name, value in members.items()) and set(answer.body) >= _SHAPE,
        sent=answer.sent,
        got=answer,
        expected=f"{members} beside the members that every problem has",
        cause="**members is a dict: body | members",
    )


@check("4.1")
def writes_half_a_character(probe: Probe) -> None:
    """a detail with half a character, which UTF-8 cannot hold, is written all the same"""
    detail = f"There is no model '\ud800{probe.rng.randint(0, 99)}'."
    answer = _problem(probe, _request(probe, "/models/x"), 404, detail, also=["\udfff"])
    expect(
        answer.body.get("detail") == detail,
        sent=answer.sent,
        got=answer,
        expected="the same detail, escaped",
        cause="ensure_ascii=False, or JSONResponse, writes UTF-8, which has no half characters",
    )


def _fault(number: int) -> dict[str, Any]:
    return {
        "type": "extra_forbidden",
        "loc": ["body", f"colour_{number}"],
        "msg": "Extra inputs are not permitted",
        "input": "hunter2",
        "ctx": {"error": "hunter2"},
        "url": "https://errors.pydantic.dev/",
    }


@check("4.1")
def keeps_secrets_out(probe: Probe) -> None:
    """faults(errors) keeps loc, msg and type of each, and nothing of what was sent"""
    given = [_fault(probe.rng.randint(0, 999)), _fault(0) | {"input": float("nan")}, _fault(1)]
    del given[2]["ctx"], given[2]["url"]
    outcome = probe.call("errors.faults", given)
    wanted = [{name: fault[name] for name in ("loc", "msg", "type")} for fault in given]
    expect(
        outcome.value == wanted,
        sent="faults([{'type': …, 'loc': …, 'msg': …, 'input': 'hunter2', …}, …])",
        got=outcome,
        expected=wanted,
        cause="name the three that may stay: whatever a later version adds then stays out too"
        if not outcome.error
        else "not every fault has a ctx or a url: take loc, msg and type, which all have",
    )
    expect(
        probe.call("errors.faults", []).value == [],
        sent="faults([])",
        got=probe.call("errors.faults", []),
        expected=[],
    )


@check("4.1")
def keeps_the_first_twenty(probe: Probe) -> None:
    """of many faults it keeps the first 20"""
    for number in (20, probe.rng.randint(21, 500)):
        given = [_fault(one) for one in range(number)]
        outcome = probe.call("errors.faults", given)
        kept = outcome.value if isinstance(outcome.value, list) else []
        expect(
            [fault.get("loc") for fault in kept] == [fault["loc"] for fault in given[:20]],
            sent=f"faults of {number} errors",
            got=f"{len(kept)} faults" if not outcome.error else outcome,
            expected="the first 20",
            cause="a client decides how many errors there are: errors[:20]",
        )


_STATUS = {"ModelNotLoaded": 503, "TooLarge": 413, "NotAPicture": 415, "BadPicture": 422, "BadAddress": 422}


def _is_problem(reply: Reply, status: int, sent: object, cause: str) -> dict[str, Any]:
    """Hold a reply of the app to being a problem of this status; its body."""
    body = reply.json
    expect(reply.status == status, sent=sent, got=reply, expected=str(status), cause=cause)
    expect(
        reply.headers.get("content-type", "").partition(";")[0] == _PROBLEM
        and isinstance(body, dict)
        and set(body) >= _SHAPE
        and body["status"] == status
        and reply.headers.get("x-request-id") == body["request_id"],
        sent=sent,
        got=f"{reply.headers.get('content-type')}: {reply}",
        expected="a problem, as problem(request, status, detail) makes it",
        cause='the framework\'s own shape is {"detail": …}: return problem(…) from the handler',
    )
    return dict(body)


@check("4.2")
def answers_our_own(probe: Probe) -> None:
    """service_error answers with the status of the error, and its text as the detail"""
    request = _request(probe, "/predict")
    for name in ("TooLarge", *probe.rng.sample(list(_STATUS), 3)):
        text = f"{name} number {probe.rng.randint(0, 10**6)}."
        sent = f"service_error(request, {name}({text!r}))"
        error = probe.keep(f"errors.{name}", text)
        answer = _read(probe, sent, probe.call("errors.service_error", request, error))
        body = answer.body if isinstance(answer.body, dict) else {}
        expect(
            answer.status == body.get("status") == _STATUS[name] and body.get("detail") == text,
            sent=sent,
            got=answer,
            expected=f"a problem of status {_STATUS[name]} with the detail {text!r}",
            cause="the status is the error's own, error.status, and the detail is str(error)",
        )


@check("4.2")
def says_when_to_come_back(probe: Probe) -> None:
    """where an error has a retry_after, its answer says Retry-After; where it has none, the answer does not"""
    request = _request(probe, "/predict")
    for name, seconds in (("ModelNotLoaded", probe.rng.randint(2, 60)), ("TooLarge", None)):
        error = probe.keep(f"errors.{name}", "No.")
        probe.method(error, "__setattr__", "retry_after", seconds)
        sent = f"service_error(request, error), a {name} with retry_after = {seconds}"
        answer = _read(probe, sent, probe.call("errors.service_error", request, error))
        headers = dict(answer.headers or {})
        expect(
            headers.get("retry-after") == (str(seconds) if seconds else None) and "x-request-id" in headers,
            sent=sent,
            got=f"the headers {headers}",
            expected=f"Retry-After: {seconds}" if seconds else "no Retry-After",
            cause="headers are texts: str(error.retry_after), and only where it is not None",
        )


@check("4.2")
def is_installed(probe: Probe) -> None:
    """an error of our own that is raised while a request is answered becomes that answer"""
    name, text = probe.rng.choice(["NotAPicture", "BadPicture"]), f"Number {probe.rng.randint(0, 10**6)} is no good."
    reply, sent = _predict(probe, probe.keep(f"errors.{name}", text), f"{name}({text!r})")
    body = _is_problem(reply, _STATUS[name], sent, "install(app) puts the handlers into the app: leave it as it is")
    expect(
        body["detail"] == text,
        sent=sent,
        got=reply,
        expected=f"the detail {text!r}",
        cause="the detail is the text of the error, str(error)",
    )


def _predict(probe: Probe, error: Ref, what: str) -> tuple[Reply, str]:
    """Have POST /predict raise this error."""
    probe.start(state={"engine": probe.make("engine", raises=error)})
    request = Request("POST", "/predict", files={"file": ("cat.jpg", b"\xff\xd8\xff", "image/jpeg")})
    return probe.send(request), f"{request}, while the work on it raises {what}"


@check("4.2")
def answers_the_framework(probe: Probe) -> None:
    """404 and 405 of the framework are problems too; the detail names method and path, and 405 keeps Allow"""
    for method, path, status in (("GET", f"/cats/{probe.rng.randint(0, 10**6)}", 404), ("DELETE", "/health", 405)):
        request = Request(method, path)
        reply = probe.send(request)
        body = _is_problem(reply, status, request, "register a handler for starlette's HTTPException: FastAPI's is one")
        expect(
            method in str(body["detail"]) and path in str(body["detail"]),
            sent=request,
            got=reply,
            expected=f"a detail that names {method} and {path}",
            cause="the framework's detail only repeats the title: where it does, say what was asked for",
        )
        expect(
            status != 405 or reply.headers.get("allow") == "GET",
            sent=request,
            got=f"the headers {dict(reply.headers)}",
            expected="Allow: GET, as the framework says",
            cause="the error carries headers: pass on headers=error.headers",
        )


@check("4.2")
def keeps_a_good_detail(probe: Probe) -> None:
    """where an HTTPException says something of its own, that is the detail"""
    name = f"resnet{probe.rng.randint(1000, 9999)}"
    request = Request("GET", f"/models/{name}")
    body = _is_problem(probe.send(request), 404, request, "the status is error.status_code")
    expect(
        "resnet18" in str(body["detail"]),
        sent=f"{request}, to which chapter 1 raises HTTPException(404, …) with the names of all models",
        got=body,
        expected="those names in the detail",
        cause="every detail is replaced: only one that repeats the title should be",
    )


@check("4.2")
def answers_invalid_requests(probe: Probe) -> None:
    """a request that breaks the rules of chapter 2 gives 422 with detail and errors that name the fields"""
    high = probe.rng.randint(11, 10**6)
    for request in (
        Request("GET", "/validate", params={"top_k": high}),
        Request("POST", "/validate", json={"image_url": "https://example.com/cat.jpg", "top_k": high}),
        Request(
            "POST",
            "/validate",
            content=b'{"image_url": "https://example.com/cat.jpg", "top_k": NaN}',
            headers={"content-type": "application/json"},
        ),
    ):
        reply = probe.send(request)
        body = _is_problem(
            reply,
            422,
            request,
            "the errors hold what was sent, here NaN, which JSON cannot say: pass on faults(…) only"
            if reply.status == 500
            else "the status of an invalid request is 422",
        )
        errors = body.get("errors")
        expect(
            isinstance(errors, list) and any("top_k" in fault.get("loc", ()) and fault.get("msg") for fault in errors),
            sent=request,
            got=reply,
            expected='"errors": a list of a dict with "loc" and "msg"',
            cause="pass errors=faults(error.errors()) to problem",
        )
        message = str(errors[0]["msg"]) if isinstance(errors, list) else ""
        expect(
            "top_k" in str(body["detail"]) and message in str(body["detail"]),
            sent=request,
            got=reply,
            expected=f'a detail with "top_k" and "{message}"',
            cause="the detail is for people: join field and message of each fault",
        )


@check("4.2")
def repeats_nothing_sent(probe: Probe) -> None:
    """what was sent in an invalid request is not sent back"""
    secret = f"{probe.rng.getrandbits(64):016x}"
    fields = {"image_url": "https://example.com/cat.jpg", "top_k": secret, "threshold": [secret]}
    request = Request("POST", "/validate", json=fields)
    reply = probe.send(request)
    _is_problem(reply, 422, request, "the status of an invalid request is 422")
    expect(
        secret not in str(reply.body),
        sent=request,
        got=reply,
        expected=f"an answer without {secret}",
        cause="error.errors() and str(error) hold the input: only faults(…) may go out",
    )


@check("4.2")
def hides_what_happened(probe: Probe) -> None:
    """an error that nobody foresaw gives 500, and nothing of its text or type"""
    secret = f"/srv/models/{probe.rng.getrandbits(48):012x}.pth"
    reply, sent = _predict(probe, probe.make("error", f"cannot open {secret}"), f"RuntimeError('cannot open {secret}')")
    _is_problem(reply, 500, sent, "an error of ours is a 500")
    expect(
        secret not in str(reply.body) and "RuntimeError" not in str(reply.body) and "Traceback" not in str(reply.body),
        sent=sent,
        got=reply,
        expected="an answer without path, type or traceback",
        cause="detail=str(error) tells a stranger what runs inside",
    )


@check("4.2")
def logs_what_happened(probe: Probe) -> None:
    """and logs one line at level ERROR, with the request's id"""
    reply, sent = _predict(probe, probe.make("error", "out of memory"), "RuntimeError('out of memory')")
    body = _is_problem(reply, 500, sent, "an error of ours is a 500")
    logs = [record for record in probe.logs() if record.get("levelname") in ("ERROR", "CRITICAL")]
    expect(
        any(body["request_id"] in str(record) for record in logs),
        sent=sent,
        got=f"logged: {[record['message'] for record in logs]}",
        expected=f"a line at level ERROR with {body['request_id']}",
        cause="the client quotes the id, so the log must know it: logging.getLogger(…).error(…, request_id(request))",
    )


_FORM = "multipart/form-data; boundary=x"


def _part(data: bytes) -> bytes:
    """A form with one upload of this body, of `_OVERHEAD` bytes more."""
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    return head + data + b"\r\n--x--\r\n"


_OVERHEAD = len(_part(b""))


def _behind(probe: Probe, limit: int) -> Ref:
    """An app that counts, behind a BodyLimit."""
    app = probe.make("app")
    outcome = probe.layer("errors.BodyLimit", app, limit=limit)
    expect(not outcome.error, sent=f"BodyLimit(app, limit={limit})", got=outcome, expected="a layer")
    return app


def _upload(size: int, **headers: str) -> Request:
    return Request("POST", "/predict", content=bytes(size), headers={"content-type": _FORM} | headers)


@check("4.3")
def refuses_a_long_one_unread(probe: Probe) -> None:
    """a body that says it is too long is refused with 413, a problem, and not one byte of it is read"""
    limit = probe.rng.randint(1000, 100_000)
    app = _behind(probe, limit)
    request = _upload(limit + 1)
    reply = probe.send(request)
    sent = f"{request} with its content-length, where the limit is {limit:,}"
    open_door = "the body goes on to the app: compare the content-length header with room(…) first"
    _is_problem(reply, 413, sent, open_door)
    entered = _value(probe, app, "entered")
    expect(
        entered == 0 and reply.sent_bytes == 0,
        sent=sent,
        got=f"{reply.status}, but {reply.sent_bytes:,} bytes were read, and the app was called {entered} times",
        expected="nothing read, and the app not called",
        cause="the answer is sent, and then the app called all the same: return after it"
        if entered
        else "await receive() reads: the header alone tells",
    )


@check("4.3")
def lets_the_limit_pass(probe: Probe) -> None:
    """a body of just the limit passes whole, with and without its length"""
    limit = probe.rng.randint(1000, 100_000)
    half = limit // 2
    whole = Request("POST", "/predict", chunks=[bytes(half), bytes(limit - half)], headers={"content-type": _FORM})
    for request in (_upload(limit), whole):
        _behind(probe, limit)
        reply = probe.send(request)
        expect(
            reply.status == 200 and reply.body == str(limit).encode(),
            sent=f"{request}, where the limit is {limit:,}",
            got=reply,
            expected=f"200, and {limit:,} bytes seen by the app",
            cause="the limit itself is allowed: more than, not as many as"
            if "413" in str(reply)
            else "pass on to the app every message that you receive, as it is",
        )


@check("4.3")
def counts_what_comes(probe: Probe) -> None:
    """a body without a length is refused with 413 as soon as it is too long; the rest is not read"""
    limit, piece = probe.rng.randint(2000, 20_000), 1000
    probe.start(settings={"max_body_bytes": limit})
    chunks = [_part(b"")[: -len(b"\r\n--x--\r\n")]] + [bytes(piece)] * 200
    request = Request("POST", "/predict", chunks=chunks, headers={"content-type": _FORM})
    reply = probe.send(request)
    sent = f"{request}, without content-length, where the limit is {limit:,}"
    _is_problem(
        reply,
        413,
        sent,
        "raise HTTPException(413, …) in the receive that you hand on: other errors FastAPI takes for a broken body"
        if reply.status in (400, 500)
        else "only the header is looked at, and this body has none: count what comes",
    )
    expect(
        reply.sent_bytes <= limit + 2 * piece,
        sent=sent,
        got=f"413 after {reply.sent_bytes:,} bytes",
        expected=f"413 after the piece that went beyond {limit:,} bytes",
        cause="the body is read to its end and then measured: count each message as it comes",
    )


@check("4.3")
def believes_no_lie(probe: Probe) -> None:
    """a body longer than its content-length says is counted too"""
    limit = probe.rng.randint(2000, 20_000)
    probe.start(settings={"max_body_bytes": limit})
    request = Request(
        "POST",
        "/predict",
        chunks=[_part(bytes(limit))],
        headers={"content-type": _FORM, "content-length": str(limit // 2)},
    )
    cause = "a content-length that is small enough is taken for the truth: count all the same"
    _is_problem(probe.send(request), 413, f"{request}, where the content-length says {limit // 2:,}", cause)


@check("4.3")
def gives_json_little_room(probe: Probe) -> None:
    """a body that is no upload has the room that room(…) gives it: 64 KiB at most"""
    limit = probe.rng.randint(10**6, 10**7)
    app = _behind(probe, limit)
    for size, status in ((2**16, 200), (2**16 + 1, 413), (10**6, 413)):
        request = Request("POST", "/predict/url", content=bytes(size), headers={"content-type": "application/json"})
        reply = probe.send(request)
        expect(
            reply.status == status,
            sent=f"{request} of JSON, where the limit is {limit:,}",
            got=reply,
            expected=str(status),
            cause="compare with room(headers, limit), not with the limit itself",
        )
    expect(_value(probe, app, "entered") == 1, sent="three bodies", got="the app was called too often", expected="1")
    upload = _upload(10**6)
    reply = probe.send(upload)
    expect(
        reply.status == 200,
        sent=f"{upload}, where the limit is {limit:,}",
        got=reply,
        expected="200",
        cause="every body gets the room of JSON: room(…) needs the headers of this request",
    )


@check("4.3")
def counts_each_alone(probe: Probe) -> None:
    """many bodies at once, and one after the other, are counted each by itself"""
    size = probe.rng.randint(1000, 5000)
    _behind(probe, 2 * size)
    chunks = [bytes(size // 2)] * 3
    request = Request("POST", "/predict", chunks=chunks, headers={"content-type": _FORM})
    replies = [*probe.together([request] * 4), probe.send(request), probe.send(request)]
    expect(
        all(reply.status == 200 for reply in replies),
        sent=f"six times {request}, where the limit is {2 * size:,}",
        got=", ".join(str(reply.status) for reply in replies),
        expected="200 for each",
        cause="the count is kept on self, which all requests share: make it a variable of __call__",
    )


@check("4.3")
def survives_odd_lengths(probe: Probe) -> None:
    """a content-length that is no number, or has thousands of digits, is no 500"""
    _behind(probe, 1000)
    for length in ("many", "-5", "1.5", "", "9" * probe.rng.randint(4500, 6000)):
        headers = {"content-type": _FORM, "content-length": length}
        request = Request("POST", "/predict", chunks=[bytes(10)], headers=headers)
        reply = probe.send(request)
        expect(
            reply.status == 200 or (len(length) > 1000 and reply.status == 413),
            sent=f"{request}, with the content-length {length[:12]!r}{' …' if len(length) > 12 else ''}",
            got=reply,
            expected="200: ten bytes came" if len(length) < 1000 else "413, or 200, as ten bytes came",
            cause='int("many") raises ValueError, and so does int of 5,000 digits'
            if reply.status == 500
            else "a length that is no number says nothing: go on, and count",
        )


@check("4.3")
def leaves_the_rest_alone(probe: Probe) -> None:
    """what is not HTTP goes on to the app untouched"""
    app = probe.make("app")
    layer = probe.keep("errors.BodyLimit", app, limit=10)
    for kind in ("lifespan", "websocket"):
        outcome = probe.call(layer, {"type": kind}, None, None)
        expect(
            not outcome.error and _value(probe, app, "scopes")[-1:] == [kind],
            sent=f'a scope of type "{kind}" to BodyLimit(app, limit=10)',
            got=outcome if outcome.error else "the app was not called",
            expected="the app called with it",
            cause='a lifespan has no headers, and no body: ask scope["type"] first',
        )


def _limits(probe: Probe, **settings: Any) -> Ref:
    return probe.keep("settings.Settings", **settings)


def _decoded(probe: Probe, data: bytes, what: str, **settings: Any) -> tuple[str, Outcome]:
    sent = f"decode({what})" + "".join(f", where {name} is {value:,}" for name, value in settings.items())
    return sent, probe.call("errors.decode", data, _limits(probe, **settings))


def _told(outcome: Outcome) -> Outcome | str:
    """An outcome; a picture in words, as its repr says little."""
    picture = outcome.value
    if not hasattr(picture, "convert"):
        return outcome
    greys = picture.convert("L").histogram()
    white = f"{greys[255] / sum(greys):.0%} of it white"
    return f"a picture of {picture.width} × {picture.height}, mode {picture.mode}, {white}"


def _raises(sent: str, outcome: Outcome, name: str, cause: str) -> str:
    """Hold a call to raising this error; its text."""
    got = outcome.error.type if outcome.error else ""
    expect(got == name, sent=sent, got=_told(outcome), expected=name, cause=cause)
    assert outcome.error
    return outcome.error.message


def _saved(picture: "Image", kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def _plain(probe: Probe, width: int = 40, height: int = 30) -> "Image":
    """A picture of one colour."""
    from PIL import Image

    return Image.new("RGB", (width, height), tuple(probe.rng.randint(0, 255) for _ in range(3)))


def _noise(probe: Probe, width: int = 40, height: int = 30) -> "Image":
    from PIL import Image

    return Image.frombytes("RGB", (width, height), probe.rng.randbytes(width * height * 3))


def _same(got: Any, wanted: "Image", tolerance: int = 4) -> bool:
    """Whether both are RGB, of one size, and nearly of the same colours."""
    from PIL import ImageChops

    if getattr(got, "mode", "") != "RGB" or got.size != wanted.size:
        return False
    return max(ImageChops.difference(got, wanted).tobytes()) <= tolerance


@check("4.4")
def decodes_good_pictures(probe: Probe) -> None:
    """decode gives an RGB picture for a JPEG, PNG, GIF or WebP"""
    picture = _plain(probe)
    for kind in ("JPEG", "PNG", "GIF", "WEBP"):
        sent, outcome = _decoded(probe, _saved(picture, kind), f"a {kind}")
        expect(
            _same(outcome.value, picture, 8),
            sent=sent,
            got=_told(outcome),
            expected=f"the picture, {picture.width} × {picture.height}, in RGB",
            cause="a good picture is refused: formats= wants the name of the kind in a list, [match.lastgroup]"
            if outcome.error
            else "the picture is checked, and then not returned"
            if outcome.value is None
            else "the picture is opened, and not made RGB: open_image(data) of chapter 3 does it",
        )


@check("4.4")
def goes_by_the_bytes(probe: Probe) -> None:
    """bytes of another kind raise NotAPicture, and no bytes BadPicture"""
    picture = _plain(probe)
    others = {"a BMP": _saved(picture, "BMP"), "a TIFF": _saved(picture, "TIFF"), "a PPM": _saved(picture, "PPM")}
    for what, data in {
        **others,
        "a text": b"just a text",
        "an SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "a JPEG after a line of text": b"cat.jpg\n" + _saved(picture, "JPEG"),
    }.items():
        sent, outcome = _decoded(probe, data, what)
        cause = "Pillow reads some forty formats: let only what SIGNATURE knows go on"
        _raises(sent, outcome, "NotAPicture", cause if not outcome.error else "ask SIGNATURE.match(data) first")
    sent, outcome = _decoded(probe, b"", 'b""')
    _raises(sent, outcome, "BadPicture", "nothing matches no signature either: ask `if not data` first")


def _headed_png(width: int, height: int) -> bytes:
    """A PNG whose header is sound, and whose pixels are rubbish."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", b"rubbish"))
    )
    return b"\x89PNG\r\n\x1a\n" + parts


@check("4.4")
def measures_first(probe: Probe) -> None:
    """too many pixels raise TooLarge, told by the header alone: these pixels cannot even be decoded"""
    width, height = probe.rng.randint(100, 200), probe.rng.randint(100, 200)
    sound = _saved(_plain(probe, width, height), "PNG")
    sent, outcome = _decoded(probe, sound, f"a sound PNG of {width} × {height}", max_pixels=width * height - 1)
    caught = bool(outcome.error and outcome.error.type == "BadPicture")
    cause = (
        "your own TooLarge was caught by your except: let ServiceError pass first"
        if caught
        else "compare width times height with limits.max_pixels"
    )
    _raises(sent, outcome, "TooLarge", cause)
    for size, limit in (
        ((width, height), width * height - 1),
        ((7000, 7200), 50_000_000),
        ((30_000, 30_000), 80_000_000),
    ):
        sent, outcome = _decoded(probe, _headed_png(*size), f"a PNG of {size[0]} × {size[1]}", max_pixels=limit)
        _raises(
            sent,
            outcome,
            "TooLarge",
            "Image.open itself raises DecompressionBombError for this many: catch it"
            if size[0] == 30_000
            else "the picture is decoded, or verified, before it is measured: image.size is known after Image.open",
        )


@check("4.4")
def lets_the_most_pixels_pass(probe: Probe) -> None:
    """a picture of just max_pixels is decoded, and one pixel row more is not"""
    picture = _noise(probe, probe.rng.randint(30, 60), probe.rng.randint(30, 60))
    pixels = picture.width * picture.height
    sent, outcome = _decoded(probe, _saved(picture, "PNG"), f"a PNG of {pixels:,} pixels", max_pixels=pixels)
    expect(
        _same(outcome.value, picture),
        sent=sent,
        got=_told(outcome),
        expected="the picture",
        cause="the limit itself is allowed: more than, not as many as",
    )
    sent, outcome = _decoded(
        probe, _saved(picture, "PNG"), f"a PNG of {pixels:,} pixels", max_pixels=pixels - picture.width
    )
    _raises(sent, outcome, "TooLarge", "the bound is limits.max_pixels, not a number of your own")


@check("4.4")
def bounds_the_drawing(probe: Probe) -> None:
    """a JPEG that draws itself more than 20 times over max_pixels raises TooLarge"""
    picture = _noise(probe, 48, 48)
    data = _saved(picture, "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    for scans, limit, wanted in ((60, 48 * 48, "TooLarge"), (60, 100 * 48 * 48, "")):
        sent, outcome = _decoded(
            probe, data[:last] + data[last:-2] * scans + data[-2:], f"a JPEG with {scans} scans more", max_pixels=limit
        )
        if wanted:
            cause = "each scan of a progressive JPEG costs as much as a picture: compare drawn(data, size) as well"
            _raises(sent, outcome, wanted, cause)
        else:
            expect(
                not outcome.error or outcome.error.type != "TooLarge",
                sent=sent,
                got=_told(outcome),
                expected="no TooLarge",
                cause="only more than 20 times max_pixels are too many",
            )


@check("4.4")
def bounds_the_shape(probe: Probe) -> None:
    """a picture whose longer side is more than max_aspect times the shorter raises BadPicture; just at it is fine"""
    aspect, side = probe.rng.randint(3, 25), probe.rng.randint(2, 5)
    for width, height, good in (
        (side * aspect, side, True),
        (side, side * aspect, True),
        (side * aspect + 1, side, False),
        (side, side * aspect + 1, False),
    ):
        data = _saved(_plain(probe, width, height), "PNG")
        sent, outcome = _decoded(probe, data, f"a PNG of {width} × {height}", max_aspect=aspect)
        if good:
            expect(
                not outcome.error,
                sent=sent,
                got=_told(outcome),
                expected="the picture",
                cause="the longer side may be max_aspect times the shorter, lying or standing",
            )
        else:
            cause = "Resize keeps the shape: 1 × 20,000 pixels become 256 × 5,120,000. Compare max(size) and min(size)"
            _raises(sent, outcome, "BadPicture", cause)
    sent, outcome = _decoded(probe, _headed_png(2, 100), "a PNG of 2 × 100 without pixels", max_aspect=aspect)
    _raises(sent, outcome, "BadPicture", "measure before you decode")


def _broken(probe: Probe) -> dict[str, bytes]:
    picture = _noise(probe)
    whole = {kind: _saved(picture, kind) for kind in ("JPEG", "PNG", "GIF", "WEBP")}
    grey = _saved(picture.convert("I;16"), "PNG")
    flipped = bytearray(whole["PNG"])
    flipped[flipped.index(b"IDAT") + 30] ^= 0xFF
    checksum = bytearray(grey)
    checksum[grey.index(b"IEND") - 5] ^= 0xFF  # the last byte of the chunk before
    return {
        "a JPEG cut off by ten bytes": whole["JPEG"][:-10],
        **{f"half a {kind}": data[: len(data) // 2] for kind, data in whole.items()},
        "half a PNG of 16 bits": grey[: len(grey) // 2],
        "a PNG with one byte changed": bytes(flipped),
        "a PNG with a wrong checksum": bytes(checksum),
        "a PNG with nothing behind its signature": whole["PNG"][:8],
        "three bytes of a JPEG": whole["JPEG"][:3],
    }


@check("4.4")
def refuses_broken_pictures(probe: Probe) -> None:
    """what is cut off or damaged raises BadPicture, whatever the decoder raised"""
    for what, data in _broken(probe).items():
        sent, outcome = _decoded(probe, data, what)
        _raises(
            sent,
            outcome,
            "BadPicture",
            "Image.open reads the header only: decode the pixels here, and verify the checksums of a PNG"
            if not outcome.error
            else "decoders raise OSError, SyntaxError, ValueError, struct.error …: catch Exception around them, "
            "but let your own errors through",
        )


@check("4.4")
def speaks_for_itself(probe: Probe) -> None:
    """what it says of a broken picture is not what the decoder said"""
    from PIL import Image

    for what, data in _broken(probe).items():
        try:
            with Image.open(io.BytesIO(data)) as picture:
                picture.load()
            decoder = ""
        except Exception as error:
            decoder = str(error).partition("<")[0].strip()
        sent, outcome = _decoded(probe, data, what)
        text = _raises(sent, outcome, "BadPicture", "a broken picture raises BadPicture")
        expect(
            text != ""
            and "BytesIO" not in text
            and not (decoder and decoder in text)
            and "these bytes are" not in text,
            sent=sent,
            got=_told(outcome),
            expected="BadPicture with a text of yours",
            cause="str(error) of a decoder shows addresses and what runs inside: say what is wrong with the picture",
        )


@check("4.4")
def keeps_sixteen_bits(probe: Probe) -> None:
    """sixteen bits of grey keep their shades, and a transparent picture lies on white"""
    from PIL import Image

    greys = [probe.rng.randint(0, 255) for _ in range(40 * 30)]
    wanted = Image.frombytes("L", (40, 30), bytes(greys))
    deep = Image.frombytes("I;16", (40, 30), struct.pack(f"<{len(greys)}H", *(257 * grey for grey in greys)))
    sent, outcome = _decoded(probe, _saved(deep, "PNG"), "a PNG of 16 bits of grey")
    expect(
        _same(outcome.value, wanted.convert("RGB")),
        sent=sent,
        got=_told(outcome),
        expected="0…65,535 told in 0…255",
        cause='convert("RGB") cuts off at 255, and nearly all is white: open_grey(data) is there for it',
    )
    clear = _noise(probe)
    clear.putalpha(0)
    sent, outcome = _decoded(probe, _saved(clear, "PNG"), "a PNG that is wholly transparent")
    expect(
        _same(outcome.value, Image.new("RGB", clear.size, "white")),
        sent=sent,
        got=_told(outcome),
        expected="white",
        cause='convert("RGB") shows the hidden colours: open_image(data) of chapter 3 does not',
    )


def _app(probe: Probe, **state: Any) -> Ref:
    return probe.make("object", state=probe.make("object", settings=_limits(probe), **state))


@check("4.4")
def waits_for_the_model(probe: Probe) -> None:
    """classify raises ModelNotLoaded while there is no model, before it decodes anything"""
    for what, app in (
        ("app.state has no classifier", _app(probe)),
        ("app.state.classifier is None", _app(probe, classifier=None)),
    ):
        sent = f'classify(app, b"no picture"), where {what}'
        outcome = probe.call("errors.classify", app, b"no picture")
        cause = "the picture is looked at first, though nobody can use it: ask for the model before that"
        absent = "read it with getattr(app.state, 'classifier', None), and raise ModelNotLoaded if it is None"
        decoded = bool(outcome.error and outcome.error.type in _STATUS)
        _raises(sent, outcome, "ModelNotLoaded", cause if decoded else absent)


@check("4.4")
def classifies_one(probe: Probe) -> None:
    """classify gives probabilities and embedding of the one picture, and the seconds that the model took"""
    classifier = probe.make("classifier", seconds=0.01)
    app = _app(probe, classifier=classifier)
    outcome = probe.call("errors.classify", app, _saved(_plain(probe), "PNG"))
    seen = outcome.value if isinstance(outcome.value, dict) else {}
    shapes = [getattr(seen.get(name), "shape", None) for name in ("probabilities", "embedding")]
    sent = "classify(app, data) of one picture, with a model of 3 classes and 4 features"
    expect(
        [*map(list, filter(None, shapes))] == [[3], [4]],
        sent=sent,
        got=f"shapes {shapes}" if seen else outcome,
        expected="shapes (3,) and (4,)",
        cause="run gives a row for each picture: take the first, output.probabilities[0]",
    )
    expect(
        _value(probe, classifier, "batches") == [1],
        sent=sent,
        got=f"runs of {_value(probe, classifier, 'batches')} pictures",
        expected="one run of one picture",
        cause="classifier.run takes a list: run([image]), once",
    )
    expect(
        isinstance(seen["seconds"], float) and 0.01 <= seen["seconds"] < 5,
        sent=f"{sent}, which took 0.01 seconds or little more",
        got=f"seconds={seen['seconds']!r}",
        expected="about 0.01",
        cause="perf_counter() before and after run: the difference, in seconds",
    )


@check("4.4")
def answers_uploads(probe: Probe) -> None:
    """POST /predict answers a good picture with 200, a text with 415, half a picture with 422, a large one with 413"""
    from PIL import Image

    probe.start(settings={"max_pixels": 5000}, state={"classifier": probe.make("classifier")})
    colours = ["red", "lime", "blue"]
    number = probe.rng.randrange(3)
    good = _saved(Image.new("RGB", (50, 50), colours[number]), "PNG")
    for what, data, status in (
        ("a picture", good, 200),
        ("a text", b"just a text", 415),
        ("half a picture", _saved(_noise(probe), "JPEG")[:-30], 422),
        ("a picture of 100 × 100", _saved(_plain(probe, 100, 100), "PNG"), 413),
    ):
        request = Request("POST", "/predict", params={"top_k": 1}, files={"file": ("cat.jpg", data, "image/jpeg")})
        reply = probe.send(request)
        sent = f"{request}, {what}, where max_pixels is 5,000"
        expect(
            reply.status == status,
            sent=sent,
            got=reply,
            expected=str(status),
            cause="classify passes decode the app's settings, app.state.settings, and lets its errors through",
        )
        best = (reply.json or {}).get("predictions", [{}])[0].get("class_name") if status == 200 else ""
        expect(
            status != 200 or best == ["red", "green", "blue"][number],
            sent=sent,
            got=reply,
            expected=["red", "green", "blue"][number],
            cause="the model was given another picture than was sent",
        )


_PUBLIC = ("93.184.216.34", "151.101.1.69", "8.8.8.8")


def _resolved(probe: Probe, url: str, allowed: Sequence[str] = ()) -> tuple[str, Outcome]:
    given = f", {[*allowed]}" if allowed else ", []"
    return f"resolve({url!r}{given})", probe.call("errors.resolve", url, [*allowed])


def _no_way(probe: Probe, url: str, cause: str, allowed: Sequence[str] = ()) -> None:
    """`resolve` must refuse this URL; one that cannot be read at all may be left to `fetch`."""
    sent, outcome = _resolved(probe, url, allowed)
    unreadable = outcome.error is not None and outcome.error.type == "InvalidURL"
    if not unreadable:
        _raises(sent, outcome, "BadAddress", cause)


def _way(probe: Probe, url: str, address: str, cause: str, allowed: Sequence[str] = ()) -> None:
    sent, outcome = _resolved(probe, url, allowed)
    expect(outcome.value == address, sent=sent, got=outcome, expected=repr(address), cause=cause)


@check("4.5")
def finds_public_servers(probe: Probe) -> None:
    """resolve gives the address of a public server, for http and https on their usual ports"""
    first, second = probe.rng.sample(_PUBLIC, 2)
    probe.serve({}, {"photos.test": [[first, second]], "six.test": ["2606:2800:220:1::1"]})
    for url in ("http://photos.test/cat.jpg", "https://photos.test/", "https://photos.test:443/", "HTTP://Photos.test"):
        _way(probe, url, first, "this is an ordinary picture on the open internet; the first address is asked for")
    _way(probe, f"http://{second}/cat.jpg", second, "an address may stand in a URL too, and this one is public")
    _way(probe, "http://six.test/", "2606:2800:220:1::1", "an IPv6 address in 2000::/3 that is_global is public")
    sent = "http://[::ffff:8.8.8.8]/"
    expect(
        not _resolved(probe, sent)[1].error,
        sent=_resolved(probe, sent)[0],
        got=_resolved(probe, sent)[1],
        expected="an address: 8.8.8.8 is public, in either spelling",
        cause="judge a mapped address by the IPv4 address inside, address.ipv4_mapped",
    )


@check("4.5")
def takes_only_http(probe: Probe) -> None:
    """any other scheme, or no host, is a BadAddress"""
    probe.serve({}, {"photos.test": [_PUBLIC[0]]})
    for url in (
        "ftp://photos.test/",
        "file:///etc/passwd",
        "gopher://photos.test:80/",
        "//photos.test/",
        "http:///x",
        "x",
    ):
        _no_way(probe, url, 'the scheme is none of "http" and "https", or the host is empty: ask before you look it up')


@check("4.5")
def keeps_out_of_the_house(probe: Probe) -> None:
    """no address of this machine or a private network gets through"""
    probe.serve({})
    low = probe.rng.randint(1, 254)
    for host in (
        "127.0.0.1",
        f"127.{low}.0.1",
        "localhost",
        f"10.0.{low}.1",
        f"192.168.0.{low}",
        f"172.16.{low}.1",
        "169.254.169.254",
        "0.0.0.0",
        f"100.64.{low}.1",
        "[::1]",
        "[::]",
        "[fd00::1]",
        "[fe80::1]",
    ):
        _no_way(probe, f"http://{host}/", "is_private, is_loopback … leave gaps: ask is_global, which says yes or no")


@check("4.5")
def sees_through_disguises(probe: Probe) -> None:
    """nor does one that is written otherwise: mapped, wrapped, in one number, in octal, for many"""
    probe.serve({})
    low = probe.rng.randint(1, 254)
    for host, cause in (
        (f"[::ffff:10.0.0.{low}]", "this is an IPv4 address in IPv6 dress: judge address.ipv4_mapped"),
        ("[::ffff:169.254.169.254]", "this is an IPv4 address in IPv6 dress: judge address.ipv4_mapped"),
        ("[2002:a00:1::1]", "6to4 wraps 10.0.0.1: address.sixtofour"),
        ("[2001:0:4136:e378:8000:63bf:3fff:fdd2]", "Teredo wraps an IPv4 address: address.teredo"),
        (f"[64:ff9b::10.0.0.{low}]", "NAT64 wraps 10.0.0.x, and is_global says yes: only _UNICAST is open"),
        ("[::127.0.0.1]", "an old way to wrap 127.0.0.1, and is_global says yes: only _UNICAST is open"),
        ("[fec0::1]", "an old private network, and is_global says yes: only _UNICAST is open"),
        (f"224.0.0.{low}", "multicast reaches many machines of this network: address.is_multicast"),
        ("[ff0e::1]", "multicast reaches many machines: address.is_multicast"),
        ("2130706433", "127.0.0.1 as one number: look the host up, and judge what comes back"),
        ("0x7f000001", "127.0.0.1 in hexadecimal: look the host up, and judge what comes back"),
        ("127.1", "127.0.0.1, shortened: look the host up, and judge what comes back"),
        ("0177.0.0.1", "127.0.0.1, in octal: look the host up, and judge what comes back"),
        ("localhost.", "a dot at the end changes nothing: look the host up, and judge what comes back"),
        ("user@127.0.0.1", "what stands before the @ is no host: httpx2.URL knows"),
    ):
        _no_way(probe, f"http://{host}/", cause)


@check("4.5")
def judges_what_names_mean(probe: Probe) -> None:
    """a name is judged by all of its addresses"""
    low = probe.rng.randint(1, 254)
    probe.serve(
        {}, {"one.test": [f"10.0.0.{low}"], "two.test": [[_PUBLIC[0], f"192.168.0.{low}"]], "six.test": ["::1"]}
    )
    for name, cause in (
        ("one.test", "a stranger's name may mean any address: judge what the look-up gives, not the name"),
        ("two.test", "the first address is public, and a later one is not: judge them all"),
        ("six.test", "a stranger's name may mean any address: judge what the look-up gives, not the name"),
    ):
        _no_way(probe, f"https://{name}/cat.jpg", cause)


@check("4.5")
def looks_up_once(probe: Probe) -> None:
    """a name is looked up once: the next answer may be another, and inside"""
    probe.serve({}, {"rebinding.test": [_PUBLIC[0], "127.0.0.1"]})
    _way(probe, "http://rebinding.test/", _PUBLIC[0], "the look-up is made twice, and the second answer is used")
    lookups = probe.lookups()
    expect(
        lookups == ["rebinding.test"],
        sent="resolve('http://rebinding.test/', []), a name whose second look-up gives 127.0.0.1",
        got=f"{len(lookups)} look-ups: {lookups}",
        expected="one look-up",
        cause="what was checked and what is used come from two look-ups: give back an address of the first",
    )


@check("4.5")
def keeps_to_the_usual_ports(probe: Probe) -> None:
    """another port than 80 for http and 443 for https is a BadAddress"""
    probe.serve({}, {"photos.test": [_PUBLIC[0]]})
    port = probe.rng.choice([22, 25, 6379, 8080, 9200])
    for url in (
        f"http://photos.test:{port}/",
        "http://photos.test:443/",
        "https://photos.test:80/",
        "http://photos.test:0/",
        f"http://photos.test:{10**20}/",
    ):
        cause = (
            "what listens on other ports is no web server for strangers; the port is URL.port, None if it is the usual"
        )
        _no_way(probe, url, cause)


@check("4.5")
def makes_the_exceptions_asked_for(probe: Probe) -> None:
    """an "address:port" in `allowed` may be used though it is not public; only that one"""
    port = probe.rng.randint(8000, 9000)
    allowed = [f"127.0.0.1:{port}", "10.0.0.9:80"]
    probe.serve({}, {"store.test": ["10.0.0.9"]})
    cause = 'compare f"{address}:{port}" with what is allowed, before anything is refused'
    _way(probe, f"http://127.0.0.1:{port}/cat.jpg", "127.0.0.1", cause, allowed)
    _way(probe, "http://store.test/", "10.0.0.9", cause, allowed)
    for url in (f"http://127.0.0.1:{port + 1}/", f"http://127.0.0.2:{port}/", "http://127.0.0.1/", "http://10.0.0.8/"):
        _no_way(probe, url, "address and port must both be as allowed", allowed)


@check("4.5")
def tells_who_is_not_there(probe: Probe) -> None:
    """a host that does not exist, or cannot, is FetchFailed"""
    probe.serve({})
    for host in (f"no{probe.rng.randint(0, 10**6)}.test", "a..b", "x" * 70 + ".test"):
        sent, outcome = _resolved(probe, f"http://{host}/")
        _raises(
            sent,
            outcome,
            "FetchFailed",
            "getaddrinfo raises OSError for an unknown name, and UnicodeError, a ValueError, for one that is no name",
        )


@check("4.5")
def checks_every_hop(probe: Probe) -> None:
    """fetch, by way of resolve, gets a picture, and follows no redirect that leads inside"""
    picture = probe.rng.randbytes(100)
    pages: dict[str, tuple[int, dict[str, str], bytes]] = {"/cat.jpg": (200, {}, picture), "/secret": (200, {}, b"no")}
    inside = {"name": "http://inside.test/secret", "address": "http://10.0.0.7/secret", "file": "file:///etc/passwd"}
    pages |= {f"/to-{name}": (302, {"location": url}, b"") for name, url in inside.items()}
    pages["/to-cat"] = (302, {"location": "/cat.jpg"}, b"")
    probe.serve(pages, {"photos.test": [_PUBLIC[0]], "inside.test": ["10.0.0.7"]})
    limits = _limits(probe)
    for path in ("/cat.jpg", "/to-cat"):
        outcome = probe.call("errors.fetch", f"http://photos.test{path}", limits)
        expect(
            outcome.value == picture,
            sent=f"fetch('http://photos.test{path}', settings)",
            got=outcome,
            expected="the bytes of the picture",
            cause="fetch is given: it connects to the address that resolve gives, and wants it as text",
        )
    for name, url in inside.items():
        outcome = probe.call("errors.fetch", f"http://photos.test/to-{name}", limits)
        sent = f"fetch of a picture whose server redirects to {url}"
        _raises(sent, outcome, "BadAddress", "resolve lets the second hop through")
    dialled = probe.dialled()
    expect(
        all(address.startswith(_PUBLIC[0]) for address in dialled),
        sent="fetch, with redirects that lead inside",
        got=f"connections to {dialled}",
        expected=f"connections to {_PUBLIC[0]} only",
        cause="the connection was made before the address was judged",
    )
