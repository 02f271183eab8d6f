"""Checks of chapter 2."""

import math
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, AnyUrl, BaseModel, Field, HttpUrl, ValidationError

from labserve.checking import check, expect
from labserve.probe import Outcome, Probe, Request
from labserve.zoo import SPECS

_URL = "https://example.com/cat.jpg"
_NAN = "no comparison with NaN is true, so `if value < 0 or value > 1` lets it pass; ge and le do not"


def _query(probe: Probe, name: str, taken: Sequence[float], refused: Sequence[float | str]) -> None:
    """Ask GET /validate with each value for this parameter."""
    for value in taken:
        request = Request("GET", "/validate", params={name: value})
        reply = probe.send(request)
        strict = "a query string is text, and strict=True refuses text for a number"
        expect(
            reply.status == 200 and reply.json.get(name) == value,
            sent=request,
            got=reply,
            expected=f'200 with "{name}": {value}',
            cause=strict
            if "should be a valid" in str(reply)
            else "gt and lt leave the bound itself out: use ge and le",
        )
    for bad in refused:
        request = Request("GET", "/validate", params={name: bad})
        reply = probe.send(request)
        missing = "a bound is missing: the type alone says that it is a number, not which"
        corrected = reply.status == 200 and reply.json.get(name) not in (bad, None)
        expect(
            reply.status == 422,
            sent=request,
            got=reply,
            expected="422",
            cause=_NAN if bad == "nan" else "a bound refuses, it does not correct" if corrected else missing,
        )


@check("2.1")
def bounds_top_k(probe: Probe) -> None:
    """GET /validate takes a top_k from 1 to 10, and refuses any other with 422"""
    taken = [1, 10, probe.rng.randint(2, 9)]
    _query(probe, "top_k", taken, [0, 11, -1, 5000, probe.rng.randint(12, 10**6)])


@check("2.1")
def bounds_the_threshold(probe: Probe) -> None:
    """it takes a threshold from 0.0 to 1.0, and refuses any other with 422"""
    taken = [0.0, 1.0, round(probe.rng.uniform(0.01, 0.99), 3)]
    _query(probe, "threshold", taken, [-0.01, 1.01, 50.0, round(probe.rng.uniform(2, 100), 1)])


@check("2.1")
def refuses_nan(probe: Probe) -> None:
    """a threshold of nan or inf, which float() takes for numbers, is refused with 422"""
    _query(probe, "threshold", [], ["nan", "inf", "-inf"])


@check("2.1")
def shows_the_bounds(probe: Probe) -> None:
    """the documentation shows both bounds of both numbers, and a description"""
    request = Request("GET", "/openapi.json")
    route = probe.send(request).json["paths"].get("/validate", {}).get("get", {})
    shown = {parameter["name"]: parameter["schema"] for parameter in route.get("parameters", [])}
    for name, low, high in (("top_k", 1, 10), ("threshold", 0.0, 1.0)):
        schema = shown.get(name, {})
        expect(
            schema.get("minimum") == low and schema.get("maximum") == high and bool(schema.get("description")),
            sent=f"{request}, where GET /validate describes {name}",
            got=schema or "nothing",
            expected=f'"minimum": {low}, "maximum": {high} and a "description"',
            cause="the documentation sees what Field says (ge, le, description), not what a function of yours does",
        )


#: What pydantic lets through instead of making a refusal of it: a 500, or another status.
_NOT_REFUSALS = {
    "AttributeError", "Exception", "HTTPException", "IndexError", "KeyError", "NameError", "NotImplementedError",
    "RuntimeError", "TypeError",
}  # fmt: skip


def _refuses(outcome: Outcome) -> bool:
    return outcome.error is not None and outcome.error.type not in _NOT_REFUSALS


def _taken(sent: str, outcome: Outcome, wanted: Any, cause: str) -> None:
    expect(not outcome.error and outcome.value == wanted, sent=sent, got=outcome, expected=repr(wanted), cause=cause)


def _refused(sent: str, outcome: Outcome, cause: str, expected: str = "ValidationError") -> None:
    expect(_refuses(outcome), sent=sent, got=outcome, expected=expected, cause=cause)


def _rule(probe: Probe, name: str, text: str) -> tuple[str, Outcome]:
    """Call one of the student's rules; the call as text, and what came of it."""
    return f"{name}({text!r})", probe.call(f"validation.{name}", text)


@check("2.2")
def allows_every_model(probe: Probe) -> None:
    """check_model_name returns the name of every model in the zoo"""
    for name in SPECS:
        sent, outcome = _rule(probe, "check_model_name", name)
        cause = "a rule returns the value that it has checked, not True"
        behind = "a second list, written by hand, falls behind the first: ask SPECS"
        _taken(sent, outcome, name, behind if outcome.error else cause)


@check("2.2")
def refuses_other_models(probe: Probe) -> None:
    """for any other name it raises ValueError, and the message lists every model there is"""
    for name in (f"resnet{probe.rng.randint(1000, 9999)}", "ResNet18", "net", "resnet18 ", ""):
        sent, outcome = _rule(probe, "check_model_name", name)
        told = outcome.error.message if outcome.error else ""
        expect(
            _refuses(outcome) and all(known in told for known in SPECS),
            sent=sent,
            got=outcome,
            expected=f"ValueError with {', '.join(SPECS)} in its message",
            cause="`in` on a text finds any part of it, and a rule that only returns refuses nothing: raise ValueError"
            if not outcome.error
            else "the message says what is wrong, but not what there is"
            if _refuses(outcome)
            else "pydantic makes a 422 of a ValueError; another exception passes through, and a KeyError ends as a 500",
        )


@check("2.2")
def takes_whole_urls(probe: Probe) -> None:
    """check_image_url takes an http or https URL with a host, and raises ValueError for anything less"""
    name = f"{probe.rng.randint(0, 10**6)}.jpg"
    for url in (f"https://example.com/{name}", f"http://example.com:8080/pets/{name}?size=large"):
        sent, outcome = _rule(probe, "check_image_url", url)
        _taken(sent, outcome, url, "this is an ordinary URL; a rule returns the value that it has checked")
    for url in (
        "http://",
        "https://?cat",
        "http://[::1",
        f"https://example.com:{probe.rng.randint(65536, 99999)}/cat.jpg",
        "https://exa mple.com/cat.jpg",
        "ftp://example.com/cat.jpg",
        "file:///etc/passwd",
        "cat.jpg",
        "",
    ):
        sent, outcome = _rule(probe, "check_image_url", url)
        cause = "how a text begins does not make it a URL: let HttpUrl(url) read all of it"
        _refused(sent, outcome, cause, "ValueError")


@check("2.2")
def gives_the_normal_form(probe: Probe) -> None:
    """it returns the URL as it was understood: one picture, one spelling"""
    name = f"Cat{probe.rng.randint(0, 10**6)}.jpg"
    normal = f"https://example.com/{name}"
    sent, outcome = _rule(probe, "check_image_url", f"HTTPS://Example.COM/{name}")
    capitals = "startswith compares letter by letter, and a scheme may be written in capitals"
    same = "the text that came in is returned: what was understood is str(HttpUrl(url))"
    _taken(sent, outcome, normal, capitals if outcome.error else same)
    sent, outcome = _rule(probe, "check_image_url", f" https:\\\\example.com\\{name}")
    if not _refuses(outcome):  # a stricter reader may refuse backslashes
        _taken(sent, outcome, normal, same)


@check("2.2")
def refuses_credentials(probe: Probe) -> None:
    """it refuses a URL with a user name or a password, and only that: an @ in the path is no password"""
    for url in (_URL + "?mail=cat@example.com", "https://example.com/@cat/1.jpg"):
        sent, outcome = _rule(probe, "check_image_url", url)
        cause = "an @ after the host is a letter like any other: ask the parsed URL for username and password"
        _taken(sent, outcome, url, cause)
    secret = f"{probe.rng.getrandbits(32):08x}"
    for user in (f"admin:{secret}", secret, f":{secret}", "example.com"):
        sent, outcome = _rule(probe, "check_image_url", f"https://{user}@pictures.example/cat.jpg")
        cause = "HttpUrl takes user name and password for parts of a URL: refuse them yourself, either of them"
        _refused(sent, outcome, cause, "ValueError")


def _construct(probe: Probe, name: str, **fields: Any) -> tuple[str, Outcome]:
    """Make one of the student's models; the call as text, and what came of it."""
    text = f"{name}({', '.join(f'{key}={value!r}' for key, value in fields.items())})"
    return text, probe.call(f"validation.{name}", **fields)


def _fields(outcome: Outcome) -> dict[str, Any]:
    return outcome.value if isinstance(outcome.value, dict) else {}


@check("2.3")
def fills_in_defaults(probe: Probe) -> None:
    """PredictionRequest(image_url=…) fills in model_name "resnet18", top_k 5 and threshold 0.0"""
    url = f"https://example.com/{probe.rng.randint(0, 10**6)}.jpg"
    sent, outcome = _construct(probe, "PredictionRequest", image_url=url)
    wanted = {"image_url": url, "model_name": "resnet18", "top_k": 5, "threshold": 0.0}
    _taken(sent, outcome, wanted, "a field is missing, is named otherwise, or has no default: top_k: TopK = 5")


@check("2.3")
def requires_the_url(probe: Probe) -> None:
    """a request without image_url is refused, and the refusal names the field"""
    sent, outcome = _construct(probe, "PredictionRequest", top_k=3)
    expect(
        _refuses(outcome) and "image_url" in str(outcome.error),
        sent=sent,
        got=outcome,
        expected="ValidationError that names image_url",
        cause="a field is required when it has no default: no = None, no = ''",
    )


@check("2.3")
def keeps_the_rules(probe: Probe) -> None:
    """it takes what the rules of 2.1 and 2.2 take, and nothing else"""
    numbers: dict[str, list[float]] = {
        "top_k": [0, 1, 10, 11, probe.rng.randint(12, 5000)],
        "threshold": [-0.5, 0.0, 1.0, round(probe.rng.uniform(1.1, 99), 2)],
    }
    for name, values in numbers.items():
        for value in values:
            reply = probe.http("GET", "/validate", params={name: value})
            if reply.status in (200, 422):
                _same_rule(probe, name, value, reply.status == 200, f"GET /validate?{name}={value}")
    texts = {
        "model_name": [*SPECS, f"resnet{probe.rng.randint(1000, 9999)}"],
        "image_url": [_URL, "http://", "ftp://example.com/cat.jpg", "https://me:secret@example.com/cat.jpg"],
    }
    for name, choices in texts.items():
        for text in choices:
            rule, outcome = _rule(probe, f"check_{name}", text)
            if not outcome.error or _refuses(outcome):
                _same_rule(probe, name, text, not outcome.error, rule)


def _same_rule(probe: Probe, name: str, value: float | str, taken: bool, where: str) -> None:
    sent, outcome = _construct(probe, "PredictionRequest", **{"image_url": _URL, name: value})
    expect(
        not outcome.error and _fields(outcome).get(name) == value if taken else _refuses(outcome),
        sent=sent,
        got=outcome,
        expected=f"a request with {name}={value!r}, since {where} takes it"
        if taken
        else f"ValidationError, since {where} refuses it",
        cause="the rule is written a second time here, or not at all: use the type of 2.1 or 2.2 for the field",
    )


@check("2.3")
def refuses_unknown_fields(probe: Probe) -> None:
    """a field that does not exist is refused, and the refusal names it"""
    for name in ("topk", f"colour_{probe.rng.randint(0, 999)}"):
        sent, outcome = _construct(probe, "PredictionRequest", image_url=_URL, **{name: 3})
        expect(
            _refuses(outcome) and name in str(outcome.error),
            sent=sent,
            got=outcome,
            expected=f"ValidationError that names {name}",
            cause="unknown fields are ignored unless model_config = ConfigDict(extra='forbid') says otherwise",
        )


@check("2.3")
def shows_a_valid_example(probe: Probe) -> None:
    """its schema shows an example, with all four fields, that it accepts itself"""
    schema = _fields(probe.call("validation.PredictionRequest.model_json_schema"))
    example = _example(schema)
    names = ["image_url", "model_name", "top_k", "threshold"]
    expect(
        set(names) <= set(example),
        sent="PredictionRequest.model_json_schema()",
        got=f"an example with {', '.join(example)}" if example else f"no example, but {', '.join(schema) or 'nothing'}",
        expected=f'"examples": a list of a dict with {", ".join(names)}',
        cause="pydantic 2 takes it from model_config = ConfigDict(json_schema_extra=…) and has forgotten schema_extra",
    )
    sent, outcome = _construct(probe, "PredictionRequest", **example)
    expect(
        not outcome.error and set(_fields(outcome)) == set(names),
        sent=sent,
        got=outcome,
        expected="a request: the example is what people copy first",
        cause="nobody validates an example, so it can break the very rules that stand beside it",
    )


def _example(schema: dict[str, Any]) -> dict[str, Any]:
    """The example that a schema shows: of the whole, or put together from those of its fields."""
    match schema:
        case {"examples": [dict(example), *_]} | {"example": dict(example)}:
            return dict(example)
        case {"properties": dict(properties)}:
            return {name: field["examples"][0] for name, field in properties.items() if field.get("examples")}
    return {}


@check("2.4")
def promises_a_probability(probe: Probe) -> None:
    """the confidence of a Prediction is from 0.0 to 1.0"""
    for good in (0.0, 1.0, round(probe.rng.random(), 6)):
        fields = {"class_name": "tabby", "confidence": good}
        sent, outcome = _construct(probe, "Prediction", **fields)
        _taken(sent, outcome, fields, "gt and lt leave the bound itself out, and a model can be certain: use ge and le")
    for bad in (87.0, 1.0001, -0.1, round(probe.rng.uniform(2, 100), 2)):
        sent, outcome = _construct(probe, "Prediction", class_name="tabby", confidence=bad)
        _refused(sent, outcome, "float promises a number, not which: bound it with Field(ge=…, le=…)")


@check("2.4")
def promises_a_number(probe: Probe) -> None:
    """a confidence of nan is refused"""
    sent, outcome = _construct(probe, "Prediction", class_name="tabby", confidence=math.nan)
    _refused(sent, outcome, _NAN)


@check("2.4")
def promises_a_name(probe: Probe) -> None:
    """a prediction without a name is refused"""
    sent, outcome = _construct(probe, "Prediction", class_name="", confidence=round(probe.rng.random(), 3))
    _refused(sent, outcome, "an empty text is a str like any other: ask for min_length=1")


def _answer(probe: Probe) -> dict[str, Any]:
    return {
        "predictions": [
            {"class_name": "tabby", "confidence": round(probe.rng.uniform(0.5, 0.9), 4)},
            {"class_name": "tiger cat", "confidence": round(probe.rng.uniform(0.0, 0.1), 4)},
        ],
        "model": probe.rng.choice(list(SPECS)),
        "inference_time_ms": round(probe.rng.uniform(5, 80), 2),
    }


@check("2.4")
def promises_a_time(probe: Probe) -> None:
    """the inference_time_ms of a PredictionResponse is finite, and 0 or more"""
    fields = _answer(probe)
    for good in (0.0, fields["inference_time_ms"]):
        sent, outcome = _construct(probe, "PredictionResponse", **fields | {"inference_time_ms": good})
        cause = "a clock may be too coarse to see the time pass, so 0.0 is a time: ge, not gt"
        _taken(sent, outcome, fields | {"inference_time_ms": good}, cause)
    for bad in (-1.0, math.nan, math.inf):
        sent, outcome = _construct(probe, "PredictionResponse", **fields | {"inference_time_ms": bad})
        endless = "infinity is more than 0, so ge alone takes it: add allow_inf_nan=False"
        _refused(sent, outcome, endless if bad == math.inf else "a time needs a lower bound: Field(ge=0.0, …)")


@check("2.4")
def promises_all_the_way_down(probe: Probe) -> None:
    """an answer holds each of its predictions to the promise, and leaves out what was not promised"""
    fields = _answer(probe)
    surplus = fields | {"weights_file": "/srv/models/resnet18.pth"}
    sent, outcome = _construct(probe, "PredictionResponse", **surplus)
    forbids = "extra='forbid' suits a request: in an answer it makes a 500 of a surplus key. Leave it at its default"
    allows = "a field is missing, or extra='allow' sends on whatever there is: leave it at its default"
    _taken(sent, outcome, fields, forbids if outcome.error else allows)
    fields["predictions"][1]["confidence"] = 87.0
    sent, outcome = _construct(probe, "PredictionResponse", **fields)
    _refused(sent, outcome, "a list of dicts holds anything: predictions is a list[Prediction], which has the bounds")


def _post(body: Any) -> Request:
    return Request("POST", "/validate", json=body)


@check("2.5")
def answers_in_full(probe: Probe) -> None:
    """POST /validate answers 200 with the request in full, as PredictionRequest understands it"""
    for more in ({}, {"top_k": probe.rng.randint(1, 10), "threshold": round(probe.rng.random(), 3)}):
        body = {"image_url": f"https://example.com/{probe.rng.randint(0, 10**6)}.jpg"} | more
        wanted = _fields(probe.call("validation.PredictionRequest", **body))
        reply = probe.send(_post(body))
        answer = reply.json if isinstance(reply.json, dict) else {}
        expect(
            reply.status == 200 and answer.get("request") == wanted and bool(wanted),
            sent=_post(body),
            got=reply,
            expected=f'200 with "request": {wanted}' if wanted else "200 with the fields of PredictionRequest",
            cause="PredictionRequest has no fields yet, or refuses this: write exercise 2.3 first"
            if not wanted
            else "the argument has no type, so FastAPI looks for it in the query string: request: PredictionRequest"
            if reply.status == 422
            else "the return type is DryRun, and what is returned has other fields"
            if reply.error
            else "the body is handed back as it came, without what PredictionRequest adds",
        )


@check("2.5")
def tells_what_was_filled_in(probe: Probe) -> None:
    """its filled_in lists the fields that the client left out, and no others"""
    choices = {"top_k": 5, "threshold": round(probe.rng.random(), 3), "model_name": "resnet18"}
    for names in ([], ["top_k"], probe.rng.sample(list(choices), 2), list(choices)):
        body = {"image_url": _URL} | {name: choices[name] for name in names}
        understood = _fields(probe.call("validation.PredictionRequest", **body))
        wanted = [name for name in understood if name not in body]
        reply = probe.send(_post(body))
        got = reply.json.get("filled_in") if isinstance(reply.json, dict) else None
        expect(
            reply.status == 200 and isinstance(got, list) and sorted(map(str, got)) == sorted(wanted),
            sent=_post(body),
            got=reply,
            expected=f'"filled_in": {wanted}, in any order',
            cause="the key filled_in is missing, or is no list"
            if not isinstance(got, list)
            else "these are the fields that were sent: the others are asked for"
            if set(got) == set(body)
            else "a client may well send the default itself: request.model_fields_set knows what it sent",
        )


@check("2.5")
def refuses_with_a_reason(probe: Probe) -> None:
    """it answers what PredictionRequest refuses with 422, and tells the place and the message of each fault"""
    for body, place in (([], "body"), ({"image_url": _URL, "top_k": "many"}, "top_k"), ({"top_k": 3}, "image_url")):
        if isinstance(body, dict) and not probe.call("validation.PredictionRequest", **body).error:
            continue  # a PredictionRequest that is not written yet takes it
        reply = probe.send(_post(body))
        details = reply.json.get("detail") if isinstance(reply.json, dict) else None
        expect(
            reply.status == 422
            and isinstance(details, list)
            and any(place in fault.get("loc", ()) and fault.get("msg") for fault in details),
            sent=_post(body),
            got=reply,
            expected=f'422 with a detail whose "loc" has "{place}", and a "msg"',
            cause="the type of the argument is not PredictionRequest, so FastAPI checks something else"
            if reply.status != 200
            else "a refusal that comes with 200 is taken for a yes: let FastAPI refuse, it does so by itself",
        )


@check("2.5")
def offers_a_form(probe: Probe) -> None:
    """the documentation has POST /validate, with the fields of PredictionRequest for its body"""
    request = Request("GET", "/openapi.json")
    document = probe.send(request).json
    body = document["paths"].get("/validate", {}).get("post", {}).get("requestBody", {})
    schema = body.get("content", {}).get("application/json", {}).get("schema", {})
    name = schema.get("$ref", "").rpartition("/")[2]
    wanted = _fields(probe.call("validation.PredictionRequest.model_json_schema")).get("properties", {})
    shown = document.get("components", {}).get("schemas", {}).get(name, schema).get("properties", {})
    expect(
        bool(body) and set(shown) == set(wanted),
        sent=f"{request}, where POST /validate describes its body",
        got=f"the fields {', '.join(shown)}" if shown else schema or "no body",
        expected=f"the fields {', '.join(wanted)}",
        cause="FastAPI describes the type of the argument: a dict has no fields to show",
    )


def _no_credentials(url: HttpUrl) -> HttpUrl:
    if url.username or url.password:
        raise ValueError("user name or password in the URL")
    return url


def _starts_like_a_url(url: str) -> str:
    if not url.startswith(("http://", "https://")) or "@" in url:
        raise ValueError("invalid URL")
    return url


def _in_the_zoo(name: str) -> str:
    if name not in SPECS:
        raise ValueError("unknown model")
    return name


class _Good(BaseModel, extra="forbid"):
    image_url: Annotated[HttpUrl, AfterValidator(_no_credentials)]
    model_name: Annotated[str, AfterValidator(_in_the_zoo)] = "resnet18"
    top_k: int = Field(5, ge=1, le=10)
    threshold: float = Field(0.0, ge=0.0, le=1.0)


class _OptionalUrl(_Good):
    image_url: Annotated[HttpUrl, AfterValidator(_no_credentials)] | None = None  # type: ignore[assignment]


class _AnyScheme(_Good):
    image_url: Annotated[AnyUrl, AfterValidator(_no_credentials)]  # type: ignore[assignment]


class _Prefix(_Good):
    image_url: Annotated[str, AfterValidator(_starts_like_a_url)]  # type: ignore[assignment]


class _Credentials(_Good):
    image_url: HttpUrl


class _AnyModel(_Good):
    model_name: str = "resnet18"


class _NoLeast(_Good):
    top_k: int = Field(5, le=10)


class _NoMost(_Good):
    top_k: int = Field(5, ge=1)


class _Percent(_Good):
    threshold: float = Field(0.0, ge=0.0, le=100.0)


class _NoBottom(_Good):
    threshold: float = Field(0.0, le=1.0)


class _Ignores(_Good, extra="ignore"):
    pass


#: Each is the good schema with one rule missing.
_CARELESS: dict[str, type[BaseModel]] = {
    "makes image_url optional": _OptionalUrl,
    "takes a URL of any scheme": _AnyScheme,
    "looks only at how image_url begins, as the lesson's does": _Prefix,
    "takes user names and passwords in image_url": _Credentials,
    "takes any text for model_name": _AnyModel,
    "forgets the lower bound of top_k": _NoLeast,
    "forgets the upper bound of top_k": _NoMost,
    "forgets the lower bound of threshold": _NoBottom,
    "takes threshold for a percentage": _Percent,
    "ignores fields that it does not know, as the lesson's does": _Ignores,
}


def _accepts(schema: type[BaseModel], request: Any) -> bool:
    try:
        schema.model_validate(request)
    except ValidationError:
        return False
    return True


def _requests(probe: Probe) -> list[Any]:
    outcome = probe.call("validation.bad_requests")
    expect(
        isinstance(outcome.value, list) and 1 <= len(outcome.value) <= 20,
        sent="bad_requests()",
        got=outcome,
        expected="a list of 1 to 20 requests",
        cause="the list is not returned, or more than a person would read",
    )
    return list(outcome.value)


@check("2.6")
def all_are_bad(probe: Probe) -> None:
    """bad_requests() gives 1 to 20 requests, each a dict, and a good schema refuses every one"""
    requests = _requests(probe)
    for number, request in enumerate(requests):
        expect(
            isinstance(request, dict),
            sent="bad_requests()",
            got=f"request [{number}] is {request!r}",
            expected="a dict, the JSON body of a request",
            cause="a good request is a dict too: change one field of it",
        )
        expect(
            not _accepts(_Good, request),
            sent=f"bad_requests()[{number}] to a good schema",
            got=f"{request} is accepted",
            expected="refused",
            cause="there is nothing wrong with this request by the rules of this chapter",
        )


def _register_catch(carelessness: str, schema: type[BaseModel]) -> None:
    def part(probe: Probe) -> None:
        requests = _requests(probe)
        expect(
            any(_accepts(schema, request) and not _accepts(_Good, request) for request in requests),
            sent=f"each of the {len(requests)} requests to a schema that {carelessness}",
            got="none that it lets through and a good one refuses: this schema escapes you",
            expected="at least one",
            cause="no request has this fault, or the one that does has another as well: spoil one field of a good one",
        )

    part.__doc__ = f"it catches a schema that {carelessness}"
    check("2.6")(part)


for _carelessness, _schema in _CARELESS.items():
    _register_catch(_carelessness, _schema)
