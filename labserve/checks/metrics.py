"""Checks of chapter 6.

What an answer counted is read from `/metrics`, as Prometheus reads it; what it logged, from the records and lines.
"""

import io
import json
import math
from collections import Counter as Tally
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from labserve.checking import check, expect
from labserve.probe import Outcome, Probe, Reply, Request
from labserve.wire import Ref

_OWN = (
    "a metric without registry=registry goes into one registry for the whole process, and the next app finds it there"
)


class _Numbers:
    """What `/metrics` said."""

    def __init__(self, text: str) -> None:
        from prometheus_client.parser import text_string_to_metric_families

        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self._samples = [sample for family in self.families.values() for sample in family.samples]

    def of(self, name: str, **labels: object) -> float:
        """The sum of all series of this name that have these labels."""
        return float(sum(sample.value for sample in self._matching(name, labels)))

    def series(self, name: str, **labels: object) -> list[dict[str, str]]:
        """The labels of each series of this name."""
        return [dict(sample.labels) for sample in self._matching(name, labels)]

    def bounds(self, name: str) -> list[float]:
        """The upper bounds of a histogram's buckets, but for infinity."""
        return sorted({float(labels["le"]) for labels in self.series(f"{name}_bucket")} - {math.inf})

    def _matching(self, name: str, labels: Mapping[str, object]) -> list[Any]:
        wanted = {(key, str(value)) for key, value in labels.items()}
        return [sample for sample in self._samples if sample.name == name and wanted <= set(sample.labels.items())]


def _numbers(probe: Probe) -> _Numbers:
    """Ask `/metrics`, which must answer in the format of Prometheus."""
    request = Request("GET", "/metrics")
    reply = probe.send(request)
    expect(
        reply.status == 200,
        sent=request,
        got=reply,
        expected="200",
        cause="an app mounted at /metrics answers /metrics with a redirect to /metrics/: use a route"
        if reply.status in (307, 308)
        else "the route /metrics was given with the exercise: keep it",
    )
    try:
        return _Numbers(reply.body.decode())
    except ValueError as error:
        expect(False, sent=request, got=f"{reply}: {error}", expected="the text format of Prometheus")
        raise


def _start(probe: Probe, *, lifespan: Sequence[str] = (), **options: Any) -> None:
    started = probe.start(lifespan=[*lifespan], **options)
    twice = "Duplicated timeseries" in str(started)
    expect(not started.error, sent="the start of the service", got=started, expected="a service", cause=_OWN * twice)


def _with_model(probe: Probe, **options: Any) -> tuple[Ref, str]:
    """Start the service with a stand-in for the model; gives it, and the name it has."""
    name = f"net{probe.rng.randint(100, 999)}"
    model = probe.make("classifier", name=name, **options.pop("model", {}))
    _start(probe, state={"classifier": model}, lifespan=["concurrency"], **options)
    return model, name


def _picture(probe: Probe) -> bytes:
    """A PNG of one colour, mostly red: the stand-in's first class."""
    from PIL import Image

    colour = probe.rng.randint(150, 255), probe.rng.randint(10, 90), probe.rng.randint(10, 90)
    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, "PNG")
    return file.getvalue()


def _upload(data: bytes, **options: Any) -> Request:
    return Request("POST", "/predict", files={"file": ("picture.png", data, "image/png")}, **options)


@check("6.1")
def shows_the_three(probe: Probe) -> None:
    """GET /metrics answers at once, and has the three metrics of the lesson, which begin at zero"""
    _with_model(probe)
    probe.send(_upload(_picture(probe)))
    _with_model(probe)  # a second app in the same process
    numbers = _numbers(probe)
    for name, kind in (
        ("ml_predictions", "counter"),
        ("ml_prediction_latency_seconds", "histogram"),
        ("ml_prediction_confidence", "histogram"),
    ):
        family = numbers.families.get(name)
        expect(
            family is not None and family.type == kind,
            sent="GET /metrics of a service that has just started",
            got=f"{name} as a {family.type}" if family else f"no {name} among {', '.join(numbers.families)}",
            expected=f"{name}{'_total' * (kind == 'counter')}, a {kind}",
            cause="Metrics still lacks it, or it was made without registry=registry, which /metrics reads",
        )
    for name in ("ml_predictions_total", "ml_prediction_latency_seconds_count", "ml_prediction_confidence_count"):
        expect(
            numbers.of(name) == 0,
            sent="a picture to one app, then GET /metrics of another app in the same process",
            got=_shown(numbers, name),
            expected=f"no {name} yet",
            cause=_OWN,
        )


@check("6.1")
def counts_success(probe: Probe) -> None:
    """every prediction is counted under the model's name, with the status success"""
    _, name = _with_model(probe)
    for number in range(1, probe.rng.randint(2, 4) + 1):
        request = _upload(_picture(probe))
        reply = probe.send(request)
        expect(
            reply.status == 200,
            sent=request,
            got=reply,
            expected="200 and the predictions, as without measuring",
            cause="the new function must return what `await engine(request, data)` gave",
        )
        numbers = _numbers(probe)
        expect(
            numbers.of("ml_predictions_total", model=name, status="success") == number
            and numbers.of("ml_predictions_total") == number,
            sent=f"{request}, the {number}. picture",
            got=_shown(numbers, "ml_predictions_total"),
            expected=f'ml_predictions_total{{model="{name}",status="success"}} {number}',
            cause="measured must give a function of its own, in which .labels(…, 'success').inc() comes once a call; "
            "model is the name of app.state.classifier",
        )


def _shown(numbers: _Numbers, name: str) -> str:
    """All series of a name, as they are written in the exposition."""
    lines = [f"{_series(name, labels)} {numbers.of(name, **labels):g}" for labels in numbers.series(name)]
    return "\n".join(lines) or f"no series of {name}"


def _series(name: str, labels: Mapping[str, object]) -> str:
    inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return f"{name}{{{inside}}}"


@check("6.1")
def times_in_seconds(probe: Probe) -> None:
    """the latency of each is observed, in seconds"""
    seconds = 0.02
    _, name = _with_model(probe, model={"seconds": seconds})
    number = probe.rng.randint(2, 3)
    whole = sum(probe.send(_upload(_picture(probe))).seconds for _ in range(number))
    numbers = _numbers(probe)
    metric = "ml_prediction_latency_seconds"
    expect(
        numbers.of(f"{metric}_count", model=name) == number and numbers.of(f"{metric}_count") == number,
        sent=f"{number} pictures",
        got=_shown(numbers, f"{metric}_count"),
        expected=f'{metric}_count{{model="{name}"}} {number}',
        cause="observe once a call, in a finally, so that a call that raises is observed too",
    )
    total = numbers.of(f"{metric}_sum", model=name)
    expect(
        number * seconds <= total <= whole,
        sent=f"{number} pictures; the model took {number * seconds:g} s of {whole:.3f} s",
        got=f"a sum of {total:g}",
        expected=f"between {number * seconds:g} and {whole:.3f}",
        cause="the name says seconds, these are milliseconds"
        if total > whole
        else "the clock is read before the engine is awaited, and once more after it",
    )


@check("6.1")
def observes_confidence(probe: Probe) -> None:
    """the probability of the top class of each success is observed"""
    _, name = _with_model(probe)
    replies = [probe.send(_upload(_picture(probe), params={"threshold": 0.999})) for _ in range(2)]
    replies += [probe.send(_upload(_picture(probe))) for _ in range(2)]
    best = [reply.json["predictions"][0]["confidence"] for reply in replies[2:]]
    numbers = _numbers(probe)
    count, total = (numbers.of(f"ml_prediction_confidence_{part}", model=name) for part in ("count", "sum"))
    expect(
        count == 4 and 2 * 0.45 < total - sum(best) <= 2,
        sent=f"four pictures; two were answered with a confidence of {best[0]:.4f} and {best[1]:.4f}, "
        "and two with an empty list, as they asked for a threshold of 0.999",
        got=f"{count:g} observed, with a sum of {total:g}",
        expected=f"4 observed, these two and another two like them, together above {sum(best) + 0.9:.2f}",
        cause="observe float(seen.probabilities.max()): in what the engine gives, from 0 to 1, all classes are there",
    )


@check("6.1")
def chooses_buckets(probe: Probe) -> None:
    """the buckets fit what they measure: seconds up to a stall, shares from 0 to 1"""
    _with_model(probe)
    probe.send(_upload(_picture(probe)))
    numbers = _numbers(probe)
    bounds = numbers.bounds("ml_prediction_confidence")
    steps = [high - low for low, high in zip([0.0, *bounds], [*bounds, 1.0], strict=True)]
    expect(
        bool(bounds) and bounds[0] > 0 and bounds[-1] <= 1 and max(steps) < 0.101,
        sent="a picture, then GET /metrics for the buckets of ml_prediction_confidence",
        got=bounds,
        expected="tenths from 0.1 to 1.0 (finer is fine), none above 1",
        cause="these are Prometheus's buckets for seconds, which it takes if you give none: half of them lie "
        "below 0.1, and three above 1: buckets=tenths",
    )
    bounds = numbers.bounds("ml_prediction_latency_seconds")
    expect(
        bool(bounds) and bounds[0] <= 0.05 and bounds[-1] >= 2.5 and len(bounds) >= 6,
        sent="a picture, then GET /metrics for the buckets of ml_prediction_latency_seconds",
        got=bounds,
        expected="some from 0.005 up to 5 seconds, as in `quick`",
        cause="the buckets of a share, or too few to tell a slow answer from a quick one: buckets=quick",
    )


@check("6.1")
def tells_refusals_from_errors(probe: Probe) -> None:
    """what the client did wrong is refused, what the service did wrong is error, and both are timed"""
    model, name = _with_model(probe)
    _failed(probe, _upload(b"this is a text"), 415, name, "refused")
    probe.method(model, "fail_on", 1)
    _failed(probe, _upload(_picture(probe)), 500, name, "error", after="refused")


@check("6.1")
def lives_without_a_model(probe: Probe) -> None:
    """while there is no model: status error, and none for the model"""
    _start(probe)
    _failed(probe, _upload(_picture(probe)), 503, "none", "error")


def _failed(probe: Probe, request: Request, status: int, model: str, label: str, *, after: str = "") -> None:
    """Send a request that fails; its exception must come through, and it must be counted."""
    reply = probe.send(request)
    expect(
        reply.status == status,
        sent=request,
        got=reply,
        expected=f"{status}, as without measuring",
        cause="what the engine raises is counted and raised again: `raise`, or a finally; and app.state.classifier may "
        "not be there yet",
    )
    numbers, number = _numbers(probe), 1 + bool(after)
    wanted = [{"model": model, "status": name} for name in (after, label) if name]
    got = numbers.series("ml_predictions_total")
    expect(
        sorted(map(str, got)) == sorted(map(str, wanted)) and numbers.of("ml_predictions_total") == number,
        sent=f"{request}, which was answered {status}",
        got=_shown(numbers, "ml_predictions_total"),
        expected=f'ml_predictions_total{{model="{model}",status="{label}"}} 1',
        cause="a ServiceError with a status below 500 is `refused`; every other exception, also one of a kind that you "
        "do not know, is `error`",
    )
    timed, seen = (numbers.of(f"ml_prediction_{what}_count") for what in ("latency_seconds", "confidence"))
    expect(
        timed == number and seen == 0,
        sent=f"{request}, which was answered {status}",
        got=f"{timed:g} latencies and {seen:g} confidences",
        expected=f"{number} and 0",
        cause="the latency belongs into a finally; there is a confidence only where there is a result",
    )


@check("6.1")
def lets_nobody_invent_a_label(probe: Probe) -> None:
    """a client cannot invent a label: nothing that it sends comes into /metrics"""
    _, name = _with_model(probe)
    word = f"w{probe.rng.getrandbits(40):x}"
    data = _picture(probe)
    file = {"file": (f"{word}.png", data, f"image/{word}")}
    for request in (
        Request("POST", "/predict", params={"model": word, "model_name": word}, files=file, headers={"X-Model": word}),
        Request("POST", "/predict", files={"file": (word, word.encode(), word)}),
    ):
        probe.send(request)
    reply = probe.http("GET", "/metrics")
    labels = [labels["model"] for labels in _numbers(probe).series("ml_predictions_total")]
    expect(
        word not in str(reply.body) and set(labels) == {name},
        sent=f"POST /predict?model={word}, with that word in the file's name, type and bytes, and in a header",
        got=next((line for line in reply.body.decode().splitlines() if word in line), f"the models {labels}"),
        expected=f"one value of the label, {name}",
        cause="a label with values that clients choose makes a new series for each, kept for ever",
    )


# 6.2: a request is one count, one duration and one line, whatever becomes of it.


@dataclass(frozen=True)
class _Watched:
    """A request and what it must be counted as."""

    request: Request
    method: str
    route: str
    status: int
    why: str = "it is an ordinary request"


_TWICE = (
    "each request is counted once: not at its start and at its end, nor with the last message and in a finally again"
)


def _watched(probe: Probe, *wanted: _Watched, cause: str = "") -> list[Reply]:
    """Send the requests; each must be counted, timed and logged once, under these labels, and nothing else be."""
    before = _numbers(probe)
    probe.logs()
    replies = [probe.send(each.request) for each in wanted]
    records = [record for record in probe.logs() if record["name"] == "labserve.access"]
    after = _numbers(probe)
    for each, reply in zip(wanted, replies, strict=True):
        sent = f"{each.request} ({each.why})"
        expect(
            reply.status == each.status,
            sent=sent,
            got=reply,
            expected=f"{each.status}, as without watching",
            cause="every message must be passed on to `send`, and an exception must go on its way",
        )
    moved, rises = _moved(before, after), _rises(before, after)
    for method, route, status in dict.fromkeys((each.method, each.route, each.status) for each in wanted):
        these = [each for each in wanted if (each.method, each.route, each.status) == (method, route, status)]
        series = _series("http_requests_total", {"method": method, "route": route, "status": status})
        expect(
            rises.get(series) == len(these),
            sent=_listed(f"{each.request} ({each.why})" for each in these),
            got=moved,
            expected=f"{series} up by {len(these)}",
            cause=_TWICE if sum(rises.values()) > len(wanted) else cause or _counting_cause(moved, route),
        )
    sent = _listed(str(each.request) for each in wanted)
    expect(
        sum(rises.values()) == len(wanted), sent=sent, got=moved, expected=f"{len(wanted)} counted in all", cause=_TWICE
    )
    _timed(before, after, wanted, sum(reply.seconds for reply in replies))
    _logged(wanted, records, replies)
    return replies


def _listed(requests: Iterable[str]) -> str:
    """The requests, those that are the same as one: 3 × GET /health."""
    return ", ".join(f"{number} × {request}" if number > 1 else request for request, number in Tally(requests).items())


def _rises(before: _Numbers, after: _Numbers) -> dict[str, float]:
    """By how much each series of the counter rose, but for those of /metrics."""
    rises = {}
    for labels in after.series("http_requests_total"):
        if labels.get("route") != "/metrics":
            ordered: dict[str, str] = {name: labels[name] for name in ("method", "route", "status") if name in labels}
            rises[_series("http_requests_total", ordered)] = after.of("http_requests_total", **labels) - before.of(
                "http_requests_total", **labels
            )
    return {series: rise for series, rise in rises.items() if rise}


def _moved(before: _Numbers, after: _Numbers) -> str:
    lines = [f"{series} up by {rise:g}" for series, rise in _rises(before, after).items()]
    return "\n".join(lines) or "no counter moved"


def _counting_cause(moved: str, route: str) -> str:
    if moved == "no counter moved":
        return "nobody watches yet: write __call__, and count by self._metrics.requests.labels(…).inc()"
    if f'route="{route}"' not in moved:
        return "the label route is template(scope), asked before the app is called; the path is the client's to choose"
    return "the status is that of http.response.start, or 500 if an exception comes in its place"


def _timed(before: _Numbers, after: _Numbers, wanted: Sequence[_Watched], most: float) -> None:
    metric = "http_request_duration_seconds"
    for method, route in {(each.method, each.route) for each in wanted}:
        labels = {"method": method, "route": route}
        number = sum((each.method, each.route) == (method, route) for each in wanted)
        count, total = (
            after.of(f"{metric}_{part}", **labels) - before.of(f"{metric}_{part}", **labels)
            for part in ("count", "sum")
        )
        expect(
            count == number and 0 < total <= most,
            sent=f"{number} × {method} {route}, {most:.4f} seconds in all",
            got=f'{metric}{{method="{method}",route="{route}"}} with {count:g} more, {total:.4f} seconds',
            expected=f"{number} more, above 0 and at most {most:.4f} seconds",
            cause="self._metrics.duration.labels(method, route).observe(seconds), once for each; seconds, not ms",
        )


def _logged(wanted: Sequence[_Watched], records: Sequence[Mapping[str, Any]], replies: Sequence[Reply]) -> None:
    """One record of the access log for each request, in their order."""
    fields = ("method", "route", "path", "status")
    got = [{name: record.get(name, "(none)") for name in fields} for record in records]
    lines = [
        {"method": each.method, "route": each.route, "path": each.request.path.partition("?")[0], "status": each.status}
        for each in wanted
    ]
    expect(
        got == lines,
        sent=_listed(str(each.request) for each in wanted),
        got="\n".join(map(str, got)) or "no record of the logger labserve.access",
        expected="\n".join(map(str, lines)),
        cause='logging.getLogger("labserve.access").info("request", extra={…}), once for each request',
    )
    for record, reply in zip(records, replies, strict=True):
        took = record.get("duration_ms")
        expect(
            record["message"] == "request"
            and record["levelname"] == "INFO"
            and isinstance(took, int | float)
            and 0 <= took <= reply.seconds * 1000 + 0.1,
            sent=f"a request that took {reply.seconds * 1000:.1f} ms",
            got=f"{record['levelname']} {record['message']!r} with duration_ms={took!r}",
            expected="INFO 'request' with duration_ms, a number of milliseconds that is no longer than that",
            cause="the message is the same for every request, so that they can be found; what differs is in the fields",
        )


@check("6.2")
def counts_by_route(probe: Probe) -> None:
    """a request is counted, timed and logged once, under its method, route and status"""
    unknown = f"net{probe.rng.randint(1000, 9999)}"
    _start(probe)
    _watched(
        probe,
        *[_Watched(Request("GET", "/health"), "GET", "/health", 200)] * probe.rng.randint(1, 3),
        _Watched(Request("GET", "/models/resnet18"), "GET", "/models/{model_name}", 200),
        _Watched(Request("GET", f"/models/{unknown}"), "GET", "/models/{model_name}", 404, "there is no such model"),
        _Watched(Request("POST", "/predict"), "POST", "/predict", 422, "without a file"),
        _Watched(Request("DELETE", "/health"), "DELETE", "/health", 405, "the path is right, the method is not"),
    )


@check("6.2")
def lets_nobody_invent_a_series(probe: Probe) -> None:
    """a client cannot invent a label: odd paths are unmatched, odd methods are other"""
    word = f"w{probe.rng.getrandbits(40):x}"
    _start(probe)
    _watched(
        probe,
        _Watched(Request("GET", f"/{word}"), "GET", "unmatched", 404, "nothing is there"),
        _Watched(Request("GET", f"/models/resnet18/{word}"), "GET", "unmatched", 404, "nothing is there"),
        _Watched(Request("GET", "/health", params={word: word}), "GET", "/health", 200),
        _Watched(
            Request("GET", f"/static-offline-docs/{word}.js"), "GET", "/static-offline-docs", 404, "a mounted app"
        ),
    )
    _watched(
        probe,
        _Watched(Request(word.upper(), "/health"), "other", "/health", 405, "a method that does not exist"),
        cause="HTTP lets a client write any word for the method: those that are not in METHODS are `other`",
    )
    reply = probe.http("GET", "/metrics")
    expect(
        word not in reply.body.decode().lower(),
        sent=f"requests with {word} as path, as query and as method",
        got=next((line for line in reply.body.decode().splitlines() if word in line.lower()), ""),
        expected="that word nowhere in /metrics",
        cause="a client can make as many series as it likes, and each is kept for ever",
    )


@check("6.2")
def counts_what_fails(probe: Probe) -> None:
    """a 500 is counted as one, and the exception goes on to those outside"""
    _start(probe, state={"classifier": {"device": "cpu"}})
    broken = _Watched(Request("GET", "/health"), "GET", "/health", 500, "its model has no name, which raises")
    cause = (
        "an exception comes without http.response.start: count in a finally, with the status 500, and do not catch it"
    )
    reply = _watched(probe, broken, cause=cause)[0]
    expect(
        reply.error is not None and reply.error.type == "AttributeError",
        sent=f"{broken.request} ({broken.why})",
        got=reply,
        expected="AttributeError, passed on to the layers outside",
        cause=cause,
    )
    _flying(probe, 1, "GET /metrics after a request that raised", "in_flight.dec() belongs into the finally too")


@check("6.2")
def counts_what_is_refused(probe: Probe) -> None:
    """what a layer inside refuses has its route too: 413 for a large body, 503 when the service is full"""
    model, _ = _with_model(probe, settings={"max_body_bytes": 1000, "max_in_flight": 1, "patience": 0.0})
    _watched(
        probe,
        _Watched(Request("POST", "/predict", content=b"x" * 1001), "POST", "/predict", 413, "a body above the limit"),
        cause="the refused request has not come to its route, so scope['route'] is not there: ask template(scope)",
    )
    probe.method(model, "hold")
    first = probe.begin(_upload(_picture(probe)))
    probe.method(model, "wait", 1)
    _watched(probe, _Watched(_upload(_picture(probe)), "POST", "/predict", 503, "while another one is at work"))
    probe.method(model, "release")
    probe.reply(first)


def _flying(probe: Probe, expected: int, sent: str, cause: str) -> None:
    found = _numbers(probe).of("http_requests_in_flight")
    expect(found == expected, sent=sent, got=f"http_requests_in_flight {found:g}", expected=expected, cause=cause)


@check("6.2")
def knows_what_is_in_flight(probe: Probe) -> None:
    """http_requests_in_flight has every request at work, and is back where it was when they are done"""
    model, _ = _with_model(probe)
    probe.method(model, "hold")
    number = probe.rng.randint(2, 4)

    _flying(probe, 1, "GET /metrics", "the request that asks is at work itself: in_flight.inc() when it comes")
    begun = [probe.begin(_upload(_picture(probe))) for _ in range(number)]
    probe.method(model, "wait", 1)
    _flying(
        probe,
        number + 1,
        f"GET /metrics while {number} predictions are at work",
        "in_flight.inc() before the app is called",
    )
    left, *stayed = begun
    probe.leave(left)
    probe.method(model, "release")
    for request in stayed:
        probe.reply(request)
    probe.reply(left)
    probe.http("GET", f"/{probe.rng.randint(0, 999)}")
    _flying(
        probe,
        1,
        "GET /metrics after all of them, one of whose clients had left",
        "in_flight.dec() belongs into a finally",
    )


@check("6.2")
def counts_who_left(probe: Probe) -> None:
    """a client that leaves is counted once, and has one line"""
    model, _ = _with_model(probe)
    before = _numbers(probe)
    probe.method(model, "hold")
    first = probe.begin(_upload(_picture(probe)))
    probe.method(model, "wait", 1)
    probe.logs()
    probe.leave(first)
    probe.method(model, "release")
    probe.reply(first)
    lines = [record for record in probe.logs() if record["name"] == "labserve.access"]
    rises = _rises(before, _numbers(probe))
    expect(
        sum(rises.values()) == 1 and len(lines) == 1,
        sent="POST /predict, whose client hangs up while the model is at work",
        got=f"{sum(rises.values()):g} counted, {len(lines)} lines",
        expected="1 and 1",
        cause="count when the last part goes out, or else in a finally, and remember that it is done",
    )


@check("6.2")
def lets_other_scopes_pass(probe: Probe) -> None:
    """anything else than HTTP is let pass, uncounted"""
    app = probe.make("app")
    metrics = probe.keep("metrics.Metrics")
    layer = probe.keep("metrics.Watch", app, metrics=metrics)
    outcome = probe.call(layer, {"type": "lifespan"}, None, None)
    expect(
        not outcome.error and probe.method(app, "scopes").value == ["lifespan"],
        sent='a scope of the type "lifespan"',
        got=outcome if outcome.error else "the app has not been called",
        expected="the app called with it",
        cause="a lifespan or a websocket has no method and no status: pass it on first",
    )


# 6.3

_SOUND = ["a", "7", "order-66", "a.b_c-D", "0" * 64]
_UNSOUND = {
    "": "empty",
    "a" * 65: "65 characters",
    "two words": "a space",
    "id\n": "a line break at the end, before which $ matches",
    "id\nSet-Cookie: a=b": "a second header in it",
    'id"}': "a quote",
    "ид": "letters of another alphabet, which \\w takes too",
    "４２": "digits of another alphabet, which \\d takes too",
    "<script>": "a tag",
}


def _sound(text: object) -> bool:
    plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
    return isinstance(text, str) and 1 <= len(text) <= 64 and set(text) <= set(plain)


@check("6.3")
def honours_a_sound_id(probe: Probe) -> None:
    """choose_id returns the id that the client gave, if it is sound"""
    for given in [*_SOUND, f"{probe.rng.getrandbits(128):032x}"]:
        outcome = probe.call("metrics.choose_id", given)
        expect(
            outcome.value == given,
            sent=f"choose_id({given!r})",
            got=outcome,
            expected=repr(given),
            cause="1 to 64 letters, digits, dots, dashes and underscores, in any order, are sound",
        )


@check("6.3")
def replaces_an_unsound_id(probe: Probe) -> None:
    """for anything else it returns a new id, sound and different each time"""
    for given, fault in [(None, "no id"), *_UNSOUND.items()]:
        first, second = (probe.call("metrics.choose_id", given) for _ in range(2))
        expect(
            _sound(first.value) and first.value not in (given, second.value),
            sent=f"choose_id({given!r}), twice ({fault})",
            got=f"{first} and {second}",
            expected="two different new ids, such as uuid.uuid4().hex",
            cause="re.fullmatch(r'[A-Za-z0-9._-]{1,64}', given) asks all of it; match asks only how it begins",
        )


def _id(reply: Reply) -> str:
    return reply.headers.get("x-request-id", "")


@check("6.3")
def marks_every_answer(probe: Probe) -> None:
    """every answer has an X-Request-ID of its own: also a 404, a 413, a 422 and a 500"""
    _start(probe, settings={"max_body_bytes": 1000}, state={"classifier": {"device": "cpu"}})
    seen: list[str] = []
    for request, status in (
        (Request("GET", "/models"), 200),
        (Request("GET", "/models"), 200),
        (Request("GET", "/docs"), 200),
        (Request("GET", f"/{probe.rng.randint(0, 999)}"), 404),
        (Request("POST", "/predict", content=b"x" * 1001), 413),
        (Request("POST", "/predict"), 422),
        (Request("GET", "/health"), 500),
    ):
        reply = probe.send(request)
        expect(
            reply.status == status, sent=request, got=reply, expected=status, cause="pass every message on to `send`"
        )
        expect(
            _sound(_id(reply)) and _id(reply) not in seen,
            sent=request,
            got=f"{status} with X-Request-ID: {_id(reply) or '(none)'}",
            expected="one sound id, which no request before it had",
            cause="no request has an id yet: set the header on the message http.response.start"
            if not _id(reply)
            else "an answer that has one already gets a second: MutableHeaders(scope=message)[…] = … replaces it"
            if "," in _id(reply)
            else "the id is chosen once for all, not for each request",
        )
        seen.append(_id(reply))


@check("6.3")
def repeats_the_clients_id(probe: Probe) -> None:
    """an answer, and the body of an error, have the id that the client sent, unless it is unsound"""
    _start(probe, settings={"max_body_bytes": 1000}, state={"classifier": {"device": "cpu"}})
    for request in (
        Request("GET", "/models"),
        Request("GET", f"/{probe.rng.randint(0, 999)}"),
        Request("POST", "/predict", content=b"x" * 1001),
        Request("POST", "/predict"),
        Request("GET", "/health"),
    ):
        given = f"order-{probe.rng.randint(0, 10**9)}"
        for header, sound in ((given, True), (f"{given} {given}", False), ("a" * 65, False)):
            reply = probe.send(replace(request, headers={"X-Request-ID": header}))
            told = reply.json.get("request_id", _id(reply)) if isinstance(reply.json, dict) else _id(reply)
            expect(
                (_id(reply) == given if sound else _sound(_id(reply))) and told == _id(reply),
                sent=f"{request} with X-Request-ID: {header}",
                got=f"X-Request-ID: {_id(reply) or '(none)'}; {reply}",
                expected=f"{given} in the header, and in the body of an error"
                if sound
                else "a new id in the header, and the same in the body of an error",
                cause="error bodies take it from scope['state']['request_id']: put it there before the app is called"
                if told != _id(reply)
                else "a 500 is answered outside of this layer, from the scope that came in: change that one, not a copy"
                if reply.status == 500
                else "choose_id(Headers(scope=scope).get('x-request-id')) decides",
            )


@check("6.3")
def follows_the_request(probe: Probe) -> None:
    """current_id holds the request's id, in its threads and background tasks too, and never another's"""
    app = probe.make("app", logs=True)
    started = probe.layer("metrics.Identify", app)
    expect(not started.error, sent="Identify(app)", got=started, expected="a layer around the app")
    probe.logs()
    probe.method(app, "hold")
    ids = [f"{probe.rng.getrandbits(64):x}" for _ in range(4)]
    begun = [probe.begin(Request("GET", "/", headers={"X-Request-ID": given})) for given in ids]
    probe.method(app, "release")
    headers = [_id(probe.reply(each)) for each in begun]
    probe.turns()
    records = probe.logs()
    for place in ("in the endpoint", "in a thread", "in the background"):
        found = [str(record["context"].get("request_id", "(none)")) for record in records if record["message"] == place]
        expect(
            sorted(found) == sorted(ids) == sorted(headers),
            sent=f"four requests at the same time, with the ids {', '.join(ids)}",
            got=f"current_id {place}: {', '.join(found) or 'nothing'}; the headers: {', '.join(headers)}",
            expected="for each request its own",
            cause="current_id.set(…) comes before the app is called, in the same task; a global is everyone's",
        )


@check("6.3")
def needs_no_state(probe: Probe) -> None:
    """a scope without "state" gets one, and anything else than HTTP is let pass"""
    app = probe.make("recorder")
    layer = probe.keep("metrics.Identify", app)
    given = f"order-{probe.rng.randint(0, 10**9)}"
    headers = [[b"x-request-id", given.encode()]]
    for scope in ({"type": "http", "method": "GET", "path": "/", "headers": headers}, {"type": "lifespan"}):
        outcome = probe.call(layer, scope, None, None)
        calls = probe.method(app, "calls").value
        state = calls[-1][0].get("state", {}) if calls and calls[-1] else {}
        if outcome.error and outcome.error.type == "TypeError" and calls:
            outcome = Outcome()  # the recorder gives nothing to await
        expect(
            not outcome.error and len(calls) == (1 if scope["type"] == "http" else 2),
            sent=f'a scope of the type {scope["type"]!r} without a "state"',
            got=outcome if outcome.error else "the app has not been called",
            expected="the app called with it",
            cause='scope.setdefault("state", {}) makes what is missing; a lifespan has no headers: pass it on first',
        )
        expect(
            scope["type"] != "http" or state.get("request_id") == given,
            sent=f'a scope without "state", with X-Request-ID: {given}',
            got=f"the state {state}",
            expected={"request_id": given},
            cause='scope.setdefault("state", {})["request_id"] = …',
        )


# 6.4


def _line(probe: Probe, message: Any = "hello", args: Sequence[Any] = (), **record: Any) -> dict[str, Any]:
    """The JSON that the student's formatter writes for a record: one line, one object, valid JSON."""
    told = {"message": message} | ({"args": list(args)} if args else {}) | record
    sent = f"a log record: {', '.join(f'{key}={value!r}' for key, value in told.items())}"
    text = probe.logged("metrics.JsonFormatter", message, args, **record)
    lines = text.removesuffix("\n").splitlines()
    try:
        line = json.loads(text, parse_constant=lambda name: _refuse(name))
    except ValueError as error:
        line, why = None, str(error)
    else:
        why = "" if isinstance(line, dict) else "it is no object"
    expect(
        isinstance(line, dict) and len(lines) == 1,
        sent=sent,
        got=text.strip()[-600:],
        expected="one line with a JSON object",
        cause="this is text: return json.dumps(line)"
        if not text.lstrip().startswith("{") and "Logging error" not in text
        else "a log call must not fail: said(record) for the message, plain(value, name) for each extra field"
        if "Logging error" in text
        else f"it is not valid JSON ({why}): plain(value, name) knows what JSON cannot hold"
        if why
        else "a line break in it makes two lines of one",
    )
    assert isinstance(line, dict)
    return line


def _refuse(name: str) -> None:
    raise ValueError(f"JSON has no {name}")


@check("6.4")
def writes_a_line_of_json(probe: Probe) -> None:
    """a record becomes a JSON object with its level, its logger and its message"""
    number = probe.rng.randint(2, 99)
    for level, name in ((20, "INFO"), (30, "WARNING"), (40, "ERROR")):
        logger = f"shop{probe.rng.randint(0, 999)}"
        line = _line(probe, "%d of %s", [number, "many"], name=logger, level=level)
        wanted = {"level": name, "logger": logger, "message": f"{number} of many"}
        expect(
            {key: line.get(key) for key in wanted} == wanted,
            sent=f'getLogger("{logger}").log({name}, "%d of %s", {number}, "many")',
            got=line,
            expected=wanted,
            cause="they are record.levelname, record.name and said(record)",
        )


@check("6.4")
def tells_the_time(probe: Probe) -> None:
    """its time is that of the record, in UTC, and says so"""
    line = _line(probe)
    now = datetime.now(UTC)
    try:
        told = datetime.fromisoformat(str(line.get("time")))
    except ValueError:
        told = None
    expect(
        told is not None and told.utcoffset() == timedelta(0) and abs(now - told) < timedelta(seconds=20),
        sent=f"a log record, at {now.isoformat(timespec='seconds')}",
        got=f'"time": {line.get("time", "(none)")!r}',
        expected="that time, with +00:00 (or Z) at its end",
        cause="utcnow() knows no time zone, says none, and is deprecated: datetime.fromtimestamp(record.created, UTC)",
    )


@check("6.4")
def keeps_extra_fields(probe: Probe) -> None:
    """every extra field is there, under its own name and with its own type"""
    extra = {
        f"shop_{probe.rng.randint(0, 999)}": probe.rng.randint(0, 999),
        "upload": "cat.jpg",
        "share": 0.5,
        "nothing": None,
        "sizes": [1, 2],
        "best": {"name": "tabby", "sure": True},
    }
    line = _line(probe, extra=extra)
    expect(
        all(name in line and line[name] == value for name, value in extra.items()),
        sent=f'logger.info("hello", extra={extra})',
        got=line,
        expected=extra,
        cause="extra fields are attributes of the record: those of vars(record) that are not in self.known",
    )
    surplus = {"msg", "args", "levelno", "pathname", "lineno", "thread", "process", "exc_info", "taskName"} & set(line)
    expect(
        not surplus,
        sent=f'logger.info("hello", extra={extra})',
        got=f"{', '.join(sorted(surplus))} in the line too",
        expected="what was asked for, and no more",
        cause="self.known has the names that every record has: leave these out",
    )


@check("6.4")
def bears_the_id(probe: Probe) -> None:
    """request_id is the request's, and null outside of one"""
    given = f"order-{probe.rng.randint(0, 10**9)}"
    for context, wanted in (({"metrics.current_id": given}, given), ({}, None)):
        line = _line(probe, context=context)
        expect(
            "request_id" in line and line["request_id"] == wanted,
            sent=f"a log record while current_id is {wanted or ''!r}",
            got=f'"request_id": {line.get("request_id", "(none)")!r}',
            expected=json.dumps(wanted),
            cause="current_id.get() or None: nobody has to pass it along with the record",
        )


@check("6.4")
def tells_exceptions(probe: Probe) -> None:
    """an exception is told with its type, its message and its traceback; without one there is no such field"""
    text = f"disk {probe.rng.randint(0, 999)} is full"
    line = _line(probe, error=text)
    told = str(line.get("exception"))
    expect(
        f"RuntimeError: {text}" in told and "Traceback" in told,
        sent=f'logger.exception("hello") where RuntimeError("{text}") was raised',
        got=line,
        expected='"exception": the traceback, which ends in the type and the message',
        cause="self.formatException(record.exc_info) makes a text of it",
    )
    line = _line(probe)
    expect(
        "exception" not in line,
        sent='logger.info("hello")',
        got=line,
        expected='no "exception"',
        cause="ask `if record.exc_info` first",
    )


@check("6.4")
def stays_one_line(probe: Probe) -> None:
    """a line break in a message or a field cannot make a second line, nor forge one"""
    forged = '\n{"level": "INFO", "message": "all is well"}'
    for text in (f"one{forged}", "one\r\ntwo", "one\u2028two\x85three", '"quoted" and \\ and \x00'):
        line = _line(probe, text, extra={"upload": text})
        expect(
            line.get("message") == text and line.get("upload") == text,
            sent=f"a log record with the message, and a field upload, {text!r}",
            got=line,
            expected="the same text, as JSON writes it",
            cause="json.dumps does it for you; a line put together by hand does not",
        )


@check("6.4")
def never_fails(probe: Probe) -> None:
    """it always writes: with arguments that do not fit, NaN, objects, and half a character"""
    word = f"w{probe.rng.randint(0, 999)}"
    for message, args in ((f"%d {word}", ["many"]), (f"{word} %s %s", [1]), (word, [1, 2]), (f"%(a)s {word}", [1])):
        line = _line(probe, message, args)
        expect(
            word in str(line.get("message")),
            sent=f"logger.info({message!r}, *{args})",
            got=line,
            expected=f"a message with {word} in it",
            cause="said(record) takes care of arguments that do not fit",
        )
    strange = probe.make("object", name=word)
    extra = {
        "kept": word,
        "odd": math.nan,
        "more": [math.inf],
        "thing": strange,
        "half": "\ud83d",
        "deep": {"a": {1: strange}},
    }
    line = _line(probe, f"{word}\ud83d", extra=extra)
    expect(
        line.get("kept") == word and word in str(line.get("message")) and set(extra) <= set(line),
        sent=f'logger.info("{word}", extra=…) with {", ".join(extra)}',
        got=line,
        expected="a line with all of them",
        cause="plain(value, name) makes of each what JSON can hold",
    )


@check("6.4")
def shows_no_secret(probe: Probe) -> None:
    """secrets are hidden, also in what is nested, and of an upload there is only the size"""
    secret = f"s{probe.rng.getrandbits(60):x}"
    data = secret.encode() * 50
    extra = {
        "authorization": f"Bearer {secret}",
        "api_key": secret,
        "headers": {"Cookie": secret, "accept": "*/*"},
        "users": [{"name": "ann", "password": secret}],
        "body": data,
        "parts": {"first": [data]},
    }
    line = _line(probe, extra=extra)
    expect(
        secret not in json.dumps(line) and "ann" in json.dumps(line) and str(len(data)) in json.dumps(line),
        sent=f'logger.info("hello", extra=…) with {", ".join(extra)}',
        got=line,
        expected=f"[hidden] for what is called authorization, api_key, Cookie or password, and [{len(data)} bytes]",
        cause="plain(value, name) hides by the name: give it both, for each field of its own",
    )


@check("6.4")
def is_not_shadowed(probe: Probe) -> None:
    """an extra field cannot take the place of the line's own: level becomes level_"""
    extra = {"level": "FINE", "time": "noon", "logger": "me", "request_id": "forged"}
    given = f"order-{probe.rng.randint(0, 999)}"
    line = _line(probe, extra=extra, context={"metrics.current_id": given}, name="shop")
    wanted = {"level": "INFO", "logger": "shop", "request_id": given} | {
        f"{name}_": text for name, text in extra.items()
    }
    expect(
        {name: line.get(name) for name in wanted} == wanted and line.get("time") != "noon",
        sent=f'getLogger("shop").info("hello", extra={extra}) while current_id is {given!r}',
        got=line,
        expected=wanted,
        cause="the fields were put over the line's own names: ask `name in line`, and put an underscore after it",
    )


# 6.5: services made up here, each with the story that its client, its log and its counters tell.


@dataclass(frozen=True)
class _Story:
    """What the client saw, the lines of the access log, and by how much each counter rose."""

    sent: dict[str, int]
    lines: list[dict[str, Any]]
    risen: dict[tuple[str, str, str], int]
    base: dict[tuple[str, str, str], int]

    def verify(self, probe: Probe) -> Outcome:
        after = {key: self.base.get(key, 0) + self.risen.get(key, 0) for key in self.base | self.risen}
        return probe.call("metrics.verify_join", self.sent, self.lines, _exposition(self.base), _exposition(after))


def _exposition(counts: Mapping[tuple[str, str, str], int]) -> str:
    rows = [
        (f'method="{method}",route="{route}",status="{status}"', value)
        for (method, route, status), value in counts.items()
    ]
    text = [
        "# HELP ml_predictions_total Predictions asked for",
        "# TYPE ml_predictions_total counter",
        'ml_predictions_total{model="resnet18",status="success"} 12.0',
        "# HELP http_requests_total Requests answered",
        "# TYPE http_requests_total counter",
        *[f"http_requests_total{{{labels}}} {value}.0" for labels, value in rows],
        "# HELP http_requests_created Requests answered",
        "# TYPE http_requests_created gauge",
        *[f"http_requests_created{{{labels}}} 1.7e+09" for labels, _ in rows],
        "# HELP http_requests_in_flight Requests at work",
        "# TYPE http_requests_in_flight gauge",
        "http_requests_in_flight 1.0",
    ]
    return "\n".join(text) + "\n"


def _story(probe: Probe) -> _Story:
    """A good service: some requests, their lines in another order than they were sent, and the counters."""
    kinds = [
        ("GET", "/health", 200, "/health"),
        ("GET", "/models/{model_name}", 200, "/models/resnet18"),
        ("GET", "/models/{model_name}", 404, "/models/nope"),
        ("POST", "/predict", 200, "/predict"),
        ("POST", "/predict", 415, "/predict"),
        ("POST", "/predict", 500, "/predict"),
    ]
    chosen = [*kinds, *probe.rng.choices(kinds, k=6)]
    probe.rng.shuffle(chosen)
    sent, lines, risen = {}, [], dict.fromkeys([("GET", "/metrics", "200")], 1)
    for method, route, status, path in chosen:
        given = f"{probe.rng.getrandbits(64):016x}"
        sent[given] = status
        fields = {"method": method, "route": route, "path": path, "status": status, "duration_ms": 1.25}
        lines.append({"level": "INFO", "logger": "labserve.access", "message": "request", "request_id": given} | fields)
        key = (method, route, str(status))
        risen[key] = risen.get(key, 0) + 1
    own = {"method": "GET", "route": "/metrics", "path": "/metrics", "status": 200, "request_id": "scrape"}
    lines.append({"level": "INFO", "logger": "labserve.access", "message": "request", "duration_ms": 2.0} | own)
    probe.rng.shuffle(lines)
    base = {key: probe.rng.randint(0, 40) for key in risen} | {("DELETE", "/health", "405"): 3}
    del base[("POST", "/predict", "500")]  # a series appears when it is first counted
    return _Story(sent, lines, risen, base)


def _passes(probe: Probe, story: _Story, what: str, cause: str) -> None:
    outcome = story.verify(probe)
    if outcome.error:  # would it pass if the log, too, had its statuses as texts?
        lines = [line | {"status": str(line["status"])} for line in story.lines]
        sent: dict[str, Any] = {given: str(status) for given, status in story.sent.items()}
        if not replace(story, sent=sent, lines=lines).verify(probe).error:
            cause = (
                "a line's status is a number, the label of a counter a text: compare str(line.get('status')) with it"
            )
    expect(
        not outcome.error,
        sent=f"verify_join of {what}: {len(story.sent)} requests, {len(story.lines)} lines",
        got=outcome,
        expected="None: all three tell the same",
        cause=cause,
    )


def _caught(probe: Probe, story: _Story, fault: str, cause: str) -> None:
    outcome = story.verify(probe)
    expect(
        outcome.error is not None and outcome.error.type == "AssertionError",
        sent=f"verify_join of a service where {fault}",
        got=outcome if outcome.error else f"{outcome}: it passed",
        expected="AssertionError",
        cause=cause,
    )


def _own(story: _Story, rng: Any, **wanted: Any) -> dict[str, Any]:
    """One line of the log that is not of /metrics."""
    fitting = [line for line in story.lines if line["route"] != "/metrics" and wanted.items() <= line.items()]
    return dict(rng.choice(fitting))


def _key(line: Mapping[str, Any]) -> tuple[str, str, str]:
    return line["method"], line["route"], str(line["status"])


@check("6.5")
def passes_good_services(probe: Probe) -> None:
    """verify_join passes good services: busy ones, idle ones, and one that has just started"""
    story = _story(probe)
    cause = "requests of /metrics are left out, the order of the lines means nothing, and counters do not begin at zero"
    _passes(probe, story, "a good service", cause)
    _passes(probe, _Story(story.sent, story.lines, story.risen, {}), "a service that has just started", cause)
    _passes(probe, _Story({}, [], {("GET", "/metrics", "200"): 1}, story.base), "a service nobody asks anything", cause)
    asked = [line for line in story.lines if line["route"] == "/metrics"] * 3
    risen = story.risen | {("GET", "/metrics", "200"): 2}
    _passes(
        probe,
        replace(story, lines=story.lines + asked, risen=risen),
        "a service that Prometheus scrapes meanwhile",
        cause,
    )


@check("6.5")
def finds_wrong_lines(probe: Probe) -> None:
    """it finds a request with two lines, with none, and a line of a request that nobody sent"""
    story = _story(probe)
    line = _own(story, probe.rng)
    missing = [other for other in story.lines if other != line]
    twice = [*story.lines, line]
    foreign = [*story.lines, line | {"request_id": f"{probe.rng.getrandbits(64):016x}"}]
    more = story.risen | {_key(line): story.risen[_key(line)] + 1}
    less = story.risen | {_key(line): story.risen[_key(line)] - 1}
    cause = (
        "count the lines of each id: a dict of them keeps one where there are two, and a loop over `sent` misses others"
    )
    _caught(probe, replace(story, lines=twice), "a request is logged twice", cause)
    _caught(probe, replace(story, lines=twice, risen=more), "a request is logged twice and counted twice", cause)
    _caught(probe, replace(story, lines=missing), "a request has no line", cause)
    _caught(probe, replace(story, lines=missing, risen=less), "a request was neither logged nor counted", cause)
    _caught(probe, replace(story, lines=foreign, risen=more), "there is a line of a request that nobody sent", cause)


@check("6.5")
def finds_wrong_ids(probe: Probe) -> None:
    """it finds ids that were mixed up, lost or wrong, and a status that the client did not see"""
    story = _story(probe)
    first = _own(story, probe.rng, status=200, method="GET", route="/health")
    second = _own(story, probe.rng, status=500)
    rest = [line for line in story.lines if line not in (first, second)]
    mixed = [first | {"request_id": second["request_id"]}, second | {"request_id": first["request_id"]}]
    cause = "hold each line's request_id and status against what the client saw of that id"
    _caught(probe, replace(story, lines=rest + mixed), "two requests have each other's id", cause)
    lost = [first | {"request_id": None}, second]
    _caught(probe, replace(story, lines=rest + lost), "a line has lost its id", cause)
    unmarked = [{key: value for key, value in first.items() if key != "request_id"}, second]
    _caught(
        probe,
        replace(story, lines=rest + unmarked),
        "a line has no field request_id",
        "line['request_id'] raises KeyError where there is none: line.get(…)",
    )
    wrong = second | {"status": 200}
    moved = story.risen | {_key(second): story.risen[_key(second)] - 1, _key(wrong): story.risen[_key(wrong)] + 1}
    _caught(
        probe,
        replace(story, lines=[*rest, first, wrong], risen=moved),
        "the client saw a 500, and log and counters say 200",
        cause,
    )


@check("6.5")
def finds_wrong_counters(probe: Probe) -> None:
    """it finds a counter that stood still, rose twice, fell, or rose where nobody asked"""
    story = _story(probe)
    key = _key(_own(story, probe.rng, status=200))
    cause = "each counter's rise, after less before, must be the number of its lines, be it none"
    _caught(probe, replace(story, risen=story.risen | {key: story.risen[key] - 1}), "a request was not counted", cause)
    _caught(
        probe, replace(story, risen=story.risen | {key: story.risen[key] + 1}), "a request was counted twice", cause
    )
    quiet = replace(story, risen={("GET", "/metrics", "200"): 1})
    _caught(probe, quiet, "nothing is counted at all", cause)
    idle = story.risen | {("DELETE", "/health", "405"): 1}
    _caught(probe, replace(story, risen=idle), "a counter rose for a request that nobody sent", cause)
    fallen = story.risen | {("DELETE", "/health", "405"): -2}
    _caught(
        probe,
        replace(story, risen=fallen),
        "a counter fell",
        "a Counter that is subtracted by `-` or passed through `+` forgets what is below 0: use a.subtract(b)",
    )


@check("6.5")
def finds_wrong_labels(probe: Probe) -> None:
    """it finds requests that were counted under another route, status or method"""
    story = _story(probe)
    line = _own(story, probe.rng, route="/models/{model_name}", status=404)
    key = _key(line)
    cause = "compare counter by counter: their sum is the same as ever"
    for fault, label in (
        ("the route of a counter is the path", (line["method"], line["path"], str(line["status"]))),
        ("a 404 was counted as 200", (line["method"], line["route"], "200")),
        ("a GET was counted as POST", ("POST", line["route"], str(line["status"]))),
    ):
        moved = story.risen | {key: story.risen[key] - 1, label: story.risen.get(label, 0) + 1}
        _caught(probe, replace(story, risen=moved), fault, cause)
