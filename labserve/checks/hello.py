"""Checks of chapter 1."""

import hashlib
from types import SimpleNamespace

from labserve.checking import check, expect
from labserve.probe import Probe, Request
from labserve.zoo import SPECS

_BY_SIZE = sorted(SPECS.values(), key=lambda spec: spec.weights_mb)


@check("1.1")
def answers_at_the_root(probe: Probe) -> None:
    """GET / answers 200 with a JSON object"""
    request = Request("GET", "/")
    reply = probe.send(request)
    expect(
        reply.status == 200,
        sent=request,
        got=reply,
        expected="200",
        cause='no function is routed at "/": write @router.get("/") on the line above it',
    )
    expect(
        isinstance(reply.json, dict),
        sent=request,
        got=reply,
        expected="a JSON object, that is, a dict",
        cause="the function must return the dict; print shows it in the log, and the client gets null",
    )


@check("1.1")
def names_the_service(probe: Probe) -> None:
    """the answer says which service this is, and its version"""
    request = Request("GET", "/")
    reply = probe.send(request)
    answer = reply.json
    for key in ("service", "version"):
        expect(
            isinstance(answer, dict) and isinstance(answer.get(key), str) and answer[key] != "",
            sent=request,
            got=reply,
            expected=f'"{key}" with a text',
            cause=f'the key "{key}" is missing, misspelt, or not a str',
        )


@check("1.1")
def shows_the_doors(probe: Probe) -> None:
    """its endpoints lead to /health, /models and /docs"""
    request = Request("GET", "/")
    reply = probe.send(request)
    doors = (reply.json or {}).get("endpoints")
    expect(
        isinstance(doors, dict) and {"/health", "/models", "/docs"} <= set(map(str, doors.values())),
        sent=request,
        got=reply,
        expected='"endpoints" as a dict of names and paths, with "/health", "/models" and "/docs" among the paths',
        cause="a list of paths instead of a dict, or a path that is missing",
    )


def _health(probe: Probe, classifier: dict[str, str] | None) -> tuple[Request, object, dict[str, object]]:
    request = Request("GET", "/health")
    probe.start(state={"classifier": classifier})
    reply = probe.send(request)
    expect(
        reply.status == 200 and isinstance(reply.json, dict),
        sent=request,
        got=reply,
        expected="200 and a JSON object",
        cause="the path, or a value on app.state read without asking whether it is there: use getattr(…, None)",
    )
    return request, reply, reply.json


@check("1.2")
def lives_without_a_model(probe: Probe) -> None:
    """before a model is loaded: "status" is "healthy" and "model_loaded" is false"""
    request = Request("GET", "/health")
    probe.start()
    reply = probe.send(request)
    expect(
        reply.status == 200,
        sent=f"{request} while app.state has no classifier",
        got=reply,
        expected="200: the process lives, even before it has a model",
        cause="app.state.classifier is not there yet: read it with getattr(request.app.state, 'classifier', None)",
    )
    answer = reply.json if isinstance(reply.json, dict) else {}
    expect(
        answer.get("status") == "healthy" and answer.get("model_loaded") is False,
        sent=f"{request} while app.state has no classifier",
        got=reply,
        expected='"status": "healthy" and "model_loaded": false',
        cause="model_loaded must be a bool made from what is there, not a constant",
    )


@check("1.2")
def says_null_for_nothing(probe: Probe) -> None:
    """without a model, model and device are null, not the text None"""
    request, reply, answer = _health(probe, None)
    expect(
        all(name in answer and answer[name] is None for name in ("model", "device")),
        sent=f"{request} while app.state.classifier is None",
        got=reply,
        expected='"model": null and "device": null',
        cause='str(None) is the text "None", which a client takes for the name of a device',
    )


@check("1.2")
def names_model_and_device(probe: Probe) -> None:
    """with a model: "model_loaded" is true, and its name and device are given"""
    name, device = probe.rng.choice([("resnet18", "cpu"), ("resnet50", "cuda:0"), ("mobilenet_v2", "mps")])
    request, reply, answer = _health(probe, {"name": name, "device": device})
    expect(
        answer.get("model_loaded") is True and answer.get("model") == name and answer.get("device") == device,
        sent=f"{request} while app.state.classifier has name={name!r} and device={device!r}",
        got=reply,
        expected=f'"model_loaded": true, "model": "{name}", "device": "{device}"',
        cause="a constant, or a value read once when the module was loaded rather than at each request",
    )


@check("1.3")
def describes_a_known_model(probe: Probe) -> None:
    """GET /models/{model_name} gives that model's name, parameters, size_mb and top1"""
    for spec in probe.rng.sample(list(SPECS.values()), 2):
        request = Request("GET", f"/models/{spec.name}")
        reply = probe.send(request)
        expect(
            reply.status == 200,
            sent=request,
            got=reply,
            expected="200",
            cause="the path needs the parameter in braces, /models/{model_name}, and the function an argument so named",
        )
        answer = reply.json if isinstance(reply.json, dict) else {}
        wanted = {"name": spec.name, "parameters": spec.parameters, "size_mb": spec.weights_mb, "top1": spec.top1}
        expect(
            all(answer.get(key) == value for key, value in wanted.items()),
            sent=request,
            got=reply,
            expected=wanted,
            cause="the values come from SPECS[model_name]; size_mb is its weights_mb",
        )


@check("1.3")
def refuses_an_unknown_model(probe: Probe) -> None:
    """a model that does not exist gives 404, with the known names in the detail"""
    name = f"resnet{probe.rng.randint(1000, 9999)}"
    request = Request("GET", f"/models/{name}")
    reply = probe.send(request)
    expect(
        reply.status == 404,
        sent=request,
        got=reply,
        expected="404 Not Found",
        cause="SPECS[name] raises KeyError, a 500, or every name gets an answer: raise HTTPException(404, …)",
    )
    detail = str((reply.json or {}).get("detail"))
    expect(
        all(known in detail for known in SPECS),
        sent=request,
        got=reply,
        expected=f"a detail that names what there is: {', '.join(SPECS)}",
        cause="the message says what is wrong but not what to do",
    )


def _names(probe: Probe, **params: object) -> tuple[Request, object, list[str]]:
    request = Request("GET", "/models", params=params)
    reply = probe.send(request)
    models = (reply.json or {}).get("models") if isinstance(reply.json, dict) else None
    expect(
        reply.status == 200 and isinstance(models, list),
        sent=request,
        got=reply,
        expected='200 and {"models": [...]}',
        cause="an argument with no default makes the query parameter obligatory, and its absence a 422",
    )
    return request, reply, [model["name"] for model in models or []]


@check("1.4")
def lists_smallest_first(probe: Probe) -> None:
    """GET /models lists every model, smallest first"""
    request, reply, names = _names(probe)
    expect(
        names == [spec.name for spec in _BY_SIZE],
        sent=request,
        got=reply,
        expected=[spec.name for spec in _BY_SIZE],
        cause="the list is not sorted by weights_mb, or a model is missing",
    )


@check("1.4")
def filters_by_size(probe: Probe) -> None:
    """?max_mb= leaves out what is larger, and a model of just that size stays"""
    chosen = probe.rng.choice(_BY_SIZE[:-1])
    for bound in (chosen.weights_mb, round(chosen.weights_mb + 0.5, 1), 0):
        request, reply, names = _names(probe, max_mb=bound)
        wanted = [spec.name for spec in _BY_SIZE if spec.weights_mb <= bound]
        expect(
            names == wanted,
            sent=request,
            got=reply,
            expected=wanted,
            cause="< instead of <=; or `if max_mb`, which takes 0 for no bound: ask `is None`",
        )


@check("1.4")
def limits_the_list(probe: Probe) -> None:
    """?limit= bounds the number of models, after sorting and filtering"""
    limit = probe.rng.randint(1, 3)
    request, reply, names = _names(probe, limit=limit)
    expect(
        names == [spec.name for spec in _BY_SIZE[:limit]],
        sent=request,
        got=reply,
        expected=[spec.name for spec in _BY_SIZE[:limit]],
        cause="the list is cut before it is sorted, or limit is not used",
    )


@check("1.4")
def refuses_a_word_for_a_number(probe: Probe) -> None:
    """?max_mb=small is refused with 422"""
    request = Request("GET", "/models", params={"max_mb": "small"})
    reply = probe.send(request)
    expect(
        reply.status == 422,
        sent=request,
        got=reply,
        expected="422, which FastAPI gives by itself when the argument is typed",
        cause="the argument has no type, so the text comes through: write max_mb: float | None = None",
    )


_JPEG = b"\xff\xd8\xff\xe0"
_PNG = b"\x89PNG\r\n\x1a\n"


def _inspect(probe: Probe, filename: str, data: bytes, kind: str) -> SimpleNamespace:
    request = Request("POST", "/inspect", files={"file": (filename, data, kind)})
    reply = probe.send(request)
    expect(
        reply.status == 200 and isinstance(reply.json, dict),
        sent=request,
        got=reply,
        expected="200 and a JSON object",
        cause="the argument must be named `file` and typed UploadFile, and the route be a POST",
    )
    return SimpleNamespace(request=request, reply=reply, answer=reply.json)


@check("1.5")
def repeats_the_claims(probe: Probe) -> None:
    """POST /inspect tells the file name and content type that the client sent"""
    seen = _inspect(probe, "holiday.jpg", _JPEG + probe.rng.randbytes(20), "image/jpeg")
    expect(
        seen.answer.get("filename") == "holiday.jpg" and seen.answer.get("content_type") == "image/jpeg",
        sent=seen.request,
        got=seen.reply,
        expected='"filename": "holiday.jpg" and "content_type": "image/jpeg"',
        cause="they are file.filename and file.content_type",
    )


@check("1.5")
def measures_the_bytes(probe: Probe) -> None:
    """it measures what came: size_bytes and sha256"""
    data = _PNG + probe.rng.randbytes(probe.rng.randint(1_000, 200_000))
    seen = _inspect(probe, "noise.png", data, "image/png")
    wanted = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    expect(
        all(seen.answer.get(key) == value for key, value in wanted.items()),
        sent=seen.request,
        got=seen.reply,
        expected=wanted,
        cause="after a first read the file stands at its end, and a second read gives nothing: seek(0), or read once",
    )


@check("1.5")
def looks_at_the_bytes(probe: Probe) -> None:
    """its format is what the first bytes show, whatever the client claims; null if they show nothing known"""
    tail = probe.rng.randbytes(30)
    for data, kind, wanted in [
        (_JPEG + tail, "image/png", "JPEG"),
        (_PNG + tail, "image/jpeg", "PNG"),
        (b"GIF89a" + tail, "text/plain", "GIF"),
        (b"just a text", "image/jpeg", None),
        (b"", "image/png", None),
    ]:
        seen = _inspect(probe, "picture", data, kind)
        expect(
            "format" in seen.answer and seen.answer["format"] == wanted,
            sent=f"{seen.request}; the bytes begin {data[:8]!r}",
            got=seen.reply,
            expected=f'"format": {"null" if wanted is None else repr(wanted)}',
            cause="the content type and the file name are what a client claims; the first bytes are what it sent",
        )
