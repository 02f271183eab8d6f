"""Checks of chapter 5. Stand-ins are held and released, so that nothing here waits for time to pass."""

import io
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from labserve.checking import OutOfTime, check, expect
from labserve.probe import Outcome, Probe, Reply, Request
from labserve.wire import Array, Ref

_LOOP = "labserve-host"  # the name of the thread in which the student's event loop runs


@contextmanager
def _moving(sent: str, cause: str, expected: str = "an answer") -> Iterator[None]:
    """What is asked for here comes, unless the event loop stands still."""
    try:
        yield
    except TimeoutError:
        raise OutOfTime(sent=sent, got="all has come to a stop", expected=expected, cause=cause) from None


def _done(probe: Probe, task: Ref) -> bool:
    return bool(probe.method(task, "done").value)


def _seen(probe: Probe, standin: Ref, name: str) -> Any:
    return probe.method(standin, name).value


# 5.1


def _watch(probe: Probe, recorder: Ref, tick: float, reports: int = 1) -> tuple[str, Ref]:
    """Have watch_lag run until it has reported so often; the call as a text, and its task."""
    sent = f"watch_lag(report, tick={tick})"
    task = probe.spawn("concurrency.watch_lag", recorder, tick)
    for number in range(1, reports + 1):
        if not _done(probe, task):
            probe.method(recorder, "wait", number)
            probe.turns()
        _goes_on(probe, task, sent)
    return sent, task


def _goes_on(probe: Probe, task: Ref, sent: str) -> None:
    if _done(probe, task):
        outcome = probe.result(task)
        expect(
            False,
            sent=sent,
            got=outcome if outcome.error else "it has ended",
            expected="a coroutine that goes on for ever",
            cause="" if outcome.error else "one measurement says nothing about the next moment: while True",
        )


def _awake(sent: str) -> AbstractContextManager[None]:
    still = "time.sleep stops the thread, and the event loop with it; await asyncio.sleep(tick) lets others run"
    return _moving(sent, still, "that others run meanwhile")


@check("5.1", limit=2)
def finds_a_free_loop_punctual(probe: Probe) -> None:
    """while the loop is free it reports again and again, each time a lag of nearly 0 seconds"""
    tick, recorder = 0.02, probe.make("recorder")
    with _awake(f"watch_lag(report, tick={tick})"):
        sent, _ = _watch(probe, recorder, tick, reports=4)
    lags = [lag for (lag,) in _seen(probe, recorder, "calls")]
    negative = min(lags) < 0
    expect(
        0 <= min(lags) < tick,
        sent=sent,
        got=f"lags of {', '.join(f'{lag:.4f}' for lag in lags)}",
        expected="nearly 0.0, for nothing else was going on, and never less",
        cause="max(0.0, …) takes care of a clock that is a hair early; or the signs are the wrong way round"
        if negative
        else "the tick itself is no delay: subtract it; and the lag is in seconds",
    )


@check("5.1", limit=2)
def keeps_to_its_tick(probe: Probe) -> None:
    """it sleeps for the tick that it is given before it reports"""
    tick, stall = 2.5, 0.12
    recorder = probe.make("recorder")
    task = probe.spawn("concurrency.watch_lag", recorder, tick)
    with _awake(f"watch_lag(report, tick={tick})"):
        probe.stall(stall)
        probe.turns()
    sent = f"watch_lag(report, tick={tick}), looked at after {stall} s"
    _goes_on(probe, task, sent)
    calls = _seen(probe, recorder, "calls")
    expect(
        not calls,
        sent=sent,
        got=f"{len(calls)} reports",
        expected="none yet",
        cause="the argument is called tick, and its default is 0.05: sleep for tick, then report",
    )


@check("5.1", limit=2)
def sees_a_stall(probe: Probe) -> None:
    """when the loop is blocked for a moment, it reports how long, in seconds; and then the loop is punctual again"""
    tick, stall = 0.005, round(probe.rng.uniform(0.08, 0.12), 2)
    recorder = probe.make("recorder")
    with _awake(f"watch_lag(report, tick={tick})"):
        sent, _ = _watch(probe, recorder, tick)
        earlier = len(_seen(probe, recorder, "calls"))
        started = time.perf_counter()
        probe.stall(stall)
        probe.method(recorder, "wait", len(_seen(probe, recorder, "calls")) + 2)
        passed = time.perf_counter() - started
        sent = f"{sent}, and something that blocks the loop for {stall} s"
        lags = [lag for (lag,) in _seen(probe, recorder, "calls")]
        worst = max(lags[earlier:])
        expect(
            stall - 2 * tick <= worst <= passed,
            sent=sent,
            got=f"a lag of {worst:.4f} at most",
            expected=f"about {stall - tick:.2f}: the sleep should have been over after {tick} s",
            cause="a lag in seconds, not in milliseconds"
            if worst > passed
            else "what is timed must be the sleep on the event loop: a thread of its own is on time whatever the loop "
            "does, and two clocks read after the sleep see no delay",
        )
        probe.method(recorder, "wait", len(lags) + 15)
    after = [lag for (lag,) in _seen(probe, recorder, "calls")][len(lags) :]
    expect(
        min(after) < stall / 2,
        sent=sent,
        got=f"lags of {min(after):.4f} or more ever after",
        expected="nearly 0.0 again: each sleep is measured for itself",
        cause="the time is compared with the start of everything; take a new one before each sleep",
    )


@check("5.1", limit=2)
def ends_when_cancelled(probe: Probe) -> None:
    """it ends when its task is cancelled"""
    recorder = probe.make("recorder")
    with _awake("watch_lag(report, tick=0.01)"):
        sent, task = _watch(probe, recorder, 0.01)
        probe.method(task, "cancel")
        probe.turns()
        expect(
            _done(probe, task),
            sent=f"{sent}, then task.cancel()",
            got="it goes on",
            expected="CancelledError, which ends the task",
            cause="asyncio.CancelledError arrives at the await: do not catch it, nor BaseException",
        )


# 5.2


def _jobs(probe: Probe, queue: Ref, data: Sequence[bytes], gone: Sequence[bytes] = ()) -> None:
    """Put a Job for each of these uploads into the queue; nobody waits any more for those that are gone."""
    for item in data:
        answer = probe.make("future")
        if item in gone:
            probe.method(answer, "cancel")
        probe.method(queue, "put_nowait", probe.keep("concurrency.Job", item, answer))


def _waits(data: Sequence[bytes], gone: Sequence[bytes], most: int) -> str:
    told = ", ".join(item.decode() + " (gone)" * (item in gone) for item in data) or "nothing"
    return f"take(queue, {most}) with {told} in the queue"


def _batch(outcome: Outcome) -> list[str]:
    """The data of the jobs that it gave."""
    jobs = outcome.value if isinstance(outcome.value, list) else []
    return [job["data"].decode() for job in jobs]


def _gives(probe: Probe, task: Ref, sent: str, wanted: Sequence[bytes], cause: str) -> None:
    """The task has ended by now, with these jobs."""
    probe.turns()
    expect(
        _done(probe, task),
        sent=sent,
        got="it waits",
        expected=[item.decode() for item in wanted],
        cause="take never waits for a batch to become full: a single client would pay for that with every request",
    )
    outcome = probe.result(task)
    expect(
        _batch(outcome) == [item.decode() for item in wanted],
        sent=sent,
        got=outcome if outcome.error or not isinstance(outcome.value, list) else _batch(outcome),
        expected=[item.decode() for item in wanted],
        cause=cause,
    )


def _names(probe: Probe, number: int) -> list[bytes]:
    return [f"{name}{probe.rng.randint(0, 99)}".encode() for name in "abcdefgh"[:number]]


_BUSY = "a loop that asks again and again burns a core, or holds the event loop up for ever: await queue.get() sleeps"


@check("5.2", limit=2)
def takes_what_is_there(probe: Probe) -> None:
    """it takes all jobs that wait, from the oldest on, at once, though more would fit into the batch"""
    data = _names(probe, probe.rng.randint(3, 5))
    for waiting in (data, data[:1]):
        queue = probe.make("queue")
        _jobs(probe, queue, waiting)
        sent = _waits(waiting, (), 8)
        with _moving(sent, _BUSY):
            task = probe.spawn("concurrency.take", queue, 8)
            cause = (
                "take what is there now: as long as the queue is not empty, the next one comes at once, by get_nowait()"
            )
            _gives(probe, task, sent, waiting, cause)


@check("5.2", limit=2)
def takes_no_more_than_that(probe: Probe) -> None:
    """it takes `most` jobs at the most, and leaves the others in the queue for the next"""
    data, most = _names(probe, 7), probe.rng.randint(2, 3)
    bound = "len(jobs) < most bounds the batch, and is asked before the next one is taken out of the queue"
    queue = probe.make("queue")
    _jobs(probe, queue, data)
    for start in (0, most):
        sent = _waits(data[start:], (), most)
        task = probe.spawn("concurrency.take", queue, most)
        _gives(probe, task, sent, data[start : start + most], bound)
    left = _seen(probe, queue, "qsize")
    expect(
        left == len(data) - 2 * most,
        sent=f"take(queue, {most}) twice, with {len(data)} jobs in the queue",
        got=f"{left} left in the queue",
        expected=len(data) - 2 * most,
        cause="a job was taken out of the queue that is not in the batch: nobody will ever answer it",
    )


@check("5.2", limit=2)
def waits_for_the_first(probe: Probe) -> None:
    """while the queue is empty it waits, which costs nothing; the first job that comes is a batch"""
    queue, (job,) = probe.make("queue"), _names(probe, 1)
    sent = _waits((), (), 4)
    with _moving(sent, _BUSY):
        task = probe.spawn("concurrency.take", queue, 4)
        expect(
            not _done(probe, task),
            sent=sent,
            got=probe.result(task) if _done(probe, task) else "",
            expected="that it waits: a batch is never empty",
            cause="get_nowait and empty ask, and only await queue.get() waits",
        )
        before = _seen(probe, queue, "asked")
        probe.turns(100)
        asked = _seen(probe, queue, "asked") - before
        expect(
            asked < 50,
            sent=f"{sent}, while the event loop turns 100 times",
            got=f"the queue was asked {asked} times",
            expected="that it sleeps until a job comes",
            cause=_BUSY,
        )
        _jobs(probe, queue, [job])
        _gives(
            probe, task, f"{sent}, then a job comes", [job], "what await queue.get() gives is the first of the batch"
        )


@check("5.2", limit=2)
def drops_who_has_gone(probe: Probe) -> None:
    """a job whose answer is cancelled is dropped, and takes no place in the batch"""
    data = _names(probe, 6)
    gone = [data[0], data[2], data[3]]
    queue = probe.make("queue")
    _jobs(probe, queue, data, gone)
    sent = _waits(data, gone, 2)
    task = probe.spawn("concurrency.take", queue, 2)
    cause = (
        "job.answer.cancelled() says that the client has gone; leave such a job out before you count, the first one too"
    )
    _gives(probe, task, sent, [data[1], data[4]], cause)
    queue = probe.make("queue")
    _jobs(probe, queue, gone, gone)
    task = probe.spawn("concurrency.take", queue, 2)
    sent = _waits(gone, gone, 2)
    expect(
        not _done(probe, task),
        sent=sent,
        got=probe.result(task) if _done(probe, task) else "",
        expected="that it waits for somebody who is still there: a batch is never empty",
        cause="after the gone ones are dropped, nothing may be left: then wait again",
    )
    _jobs(probe, queue, data[1:2])
    _gives(probe, task, f"{sent}, then {data[1].decode()} comes", data[1:2], cause)


@check("5.2", limit=2)
def loses_nothing_when_cancelled(probe: Probe) -> None:
    """when it is cancelled while it waits, the job that comes next is there for the next worker"""
    queue, (job,) = probe.make("queue"), _names(probe, 1)
    task = probe.spawn("concurrency.take", queue, 4)
    probe.method(task, "cancel")
    probe.turns()
    expect(
        _done(probe, task),
        sent=f"{_waits((), (), 4)}, then task.cancel()",
        got="it goes on",
        expected="CancelledError, which ends the task",
        cause="asyncio.CancelledError arrives at the await: do not catch it, nor BaseException",
    )
    _jobs(probe, queue, [job])
    task = probe.spawn("concurrency.take", queue, 4)
    cause = "the call that was cancelled left a task behind which still waits at the queue, and took the job"
    probe.turns()
    expect(
        _done(probe, task),
        sent="a take that is cancelled, a job that comes, another take",
        got="it waits, though a job came",
        expected=[job.decode()],
        cause=cause,
    )
    _gives(probe, task, "a take that is cancelled, a job that comes, another take", [job], cause)


# 5.3

_COLOURS = {"red": (220, 20, 10), "green": (30, 230, 20), "blue": (10, 40, 200)}


def _png(colour: str, width: int = 16, height: int = 12) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (width, height), _COLOURS[colour]).save(buffer, "PNG")
    return buffer.getvalue()


def _pictures(probe: Probe, number: int) -> list[str]:
    """Colours in a made-up order, each at least once."""
    colours = [*_COLOURS, *probe.rng.choices(list(_COLOURS), k=number - 3)]
    probe.rng.shuffle(colours)
    return colours


def _run_batch(
    probe: Probe,
    classifier: Ref,
    batch: Sequence[bytes],
    told: str,
    limits: Mapping[str, Any] | None = None,
    cause: str = "what decode raises concerns one upload: catch it there, and go on with the next",
) -> tuple[str, list[Any]]:
    """The call as a text, and the list that it gave."""
    settings = probe.keep("settings.Settings", **(limits or {}))
    outcome = probe.call("concurrency.run_batch", classifier, settings, batch)
    sent = f"run_batch(classifier, limits, [{told}])"
    expect(
        isinstance(outcome.value, list),
        sent=sent,
        got=outcome,
        expected="a list",
        cause=cause if outcome.error else "the function must return the list, complete",
    )
    expect(
        len(outcome.value) == len(batch),
        sent=sent,
        got=f"a list of {len(outcome.value)}",
        expected=f"a list of {len(batch)}: each upload has its place",
        cause="the n-th result answers the n-th upload: whoever is left out gets a neighbour's answer",
    )
    return sent, outcome.value


def _told(result: Any) -> str:
    """A result in a word: the colour that was seen, the name of the error, or what it is instead."""
    match result:
        case Ref():
            return result.type
        case {"probabilities": Array() as seen, "embedding": Array()}:
            if seen.shape != (3,):
                return f"probabilities of shape {seen.shape}"
            return list(_COLOURS)[int(seen.values.argmax())]
    return repr(result)[:60]


_ORDER = "each result stands at the place of its upload: remember the place of each picture"


def _runs(probe: Probe, classifier: Ref, sent: str, wanted: list[int], cause: str) -> None:
    sizes = _seen(probe, classifier, "batches")
    expect(sizes == wanted, sent=sent, got=f"runs of {sizes} pictures", expected=f"runs of {wanted}", cause=cause)


@check("5.3")
def classifies_them_together(probe: Probe) -> None:
    """all pictures of a batch go through one run, and each gets its own row of probabilities and embeddings"""
    colours = _pictures(probe, probe.rng.randint(4, 6))
    classifier = probe.make("classifier")
    sent, results = _run_batch(probe, classifier, [_png(colour) for colour in colours], ", ".join(colours))
    seen = [_told(result) for result in results]
    expect(
        seen == colours,
        sent=sent,
        got=seen,
        expected=colours,
        cause="row n of output.probabilities, output.probabilities[n], belongs to the n-th picture of the run",
    )
    for colour, result in zip(colours, results, strict=True):
        embedding = result["embedding"]
        wanted = [value / 255 for value in _COLOURS[colour]] + [1.0]
        expect(
            embedding.shape == (4,) and max(abs(embedding.values - wanted)) < 0.02,
            sent=sent,
            got=f"for {colour} an embedding {embedding.values.round(2).tolist()}",
            expected=f"the row of its own: {[round(value, 2) for value in wanted]}",
            cause="output.embeddings has a row for each picture, as output.probabilities has",
        )
    one = "a run for each picture is what chapter 4 does: collect the pictures, then one classifier.run for all"
    _runs(probe, classifier, sent, [len(colours)], one)


@check("5.3")
def spares_the_neighbours(probe: Probe) -> None:
    """an upload that cannot be decoded has its own exception in its place, and its neighbours never notice"""
    colours = _pictures(probe, 4)
    batch: list[tuple[str, bytes, str]] = [(colour, _png(colour), colour) for colour in colours]
    batch.insert(
        probe.rng.randint(1, 2), ("a text", b"milk, bread, " + probe.rng.randbytes(4).hex().encode(), "NotAPicture")
    )
    batch.insert(probe.rng.randint(1, 4), ("half a PNG", _png("red")[:50], "BadPicture"))
    classifier = probe.make("classifier")
    sent, results = _run_batch(probe, classifier, [data for _, data, _ in batch], ", ".join(name for name, *_ in batch))
    seen, wanted = [_told(result) for result in results], [told for *_, told in batch]
    expect(
        seen == wanted,
        sent=sent,
        got=seen,
        expected=wanted,
        cause=_ORDER
        if sorted(seen) == sorted(wanted)
        else "the place of a bad upload holds the exception object itself; and with it the rows of the run and the "
        "places of the batch no longer agree: remember the place of each picture",
    )
    _runs(probe, classifier, sent, [len(colours)], "the run gets those pictures that could be decoded, all at once")


@check("5.3")
def keeps_to_the_limits(probe: Probe) -> None:
    """the limits it is given are those of decode: a picture with too many pixels has TooLarge in its place"""
    side = probe.rng.randint(20, 40)
    batch = [_png("green", side, side), _png("blue", side + 1, side), _png("red", side, side)]
    told = f"{side} × {side} pixels, {side + 1} × {side} pixels, {side} × {side} pixels"
    limits = {"max_pixels": side * side}
    sent, results = _run_batch(probe, probe.make("classifier"), batch, told, limits)
    seen, wanted = [_told(result) for result in results], ["green", "TooLarge", "red"]
    expect(
        seen == wanted,
        sent=f"{sent} with limits.max_pixels={side * side}",
        got=seen,
        expected=wanted,
        cause=_ORDER
        if sorted(seen) == sorted(wanted)
        else "decode(data, limits) of chapter 4 checks before it decodes; open_image of chapter 3 does not",
    )


@check("5.3")
def runs_nothing_for_nothing(probe: Probe) -> None:
    """if no picture is left the model is not run"""
    for told, batch in (("", []), ("a text, another text", [b"milk", b"bread"])):
        classifier = probe.make("classifier")
        nothing = "a run of no pictures raises in torch.stack: ask whether any is left"
        sent, results = _run_batch(probe, classifier, batch, told, cause=nothing)
        seen = [_told(result) for result in results]
        expect(
            seen == ["NotAPicture"] * len(batch),
            sent=sent,
            got=seen,
            expected=["NotAPicture"] * len(batch),
            cause="a run of no pictures raises, and its error takes the place of the true ones",
        )
        _runs(probe, classifier, sent, [], nothing)


@check("5.3")
def tells_the_seconds(probe: Probe) -> None:
    """the seconds of a result are those of its run"""
    took, colours = 0.06, _pictures(probe, 4)
    started = time.perf_counter()
    classifier = probe.make("classifier", seconds=took)
    sent, results = _run_batch(probe, classifier, [_png(colour) for colour in colours], ", ".join(colours))
    passed = time.perf_counter() - started
    for result in results:
        seconds = result["seconds"] if isinstance(result, dict) else result
        expect(
            isinstance(seconds, float) and took * 0.98 <= seconds <= passed,
            sent=f"{sent} with a model that takes {took} s",
            got=f"seconds={seconds}",
            expected=f"{took} and a little more, for every picture: each has waited for the whole run",
            cause="time.perf_counter() before and after classifier.run; in seconds, and not shared out",
        )


@check("5.3")
def lets_the_models_error_be(probe: Probe) -> None:
    """an error of the model itself reaches everybody in the batch"""
    classifier = probe.make("classifier")
    probe.method(classifier, "fail_on", 1)
    batch = [_png("red"), _png("blue")]
    settings = probe.keep("settings.Settings")
    outcome = probe.call("concurrency.run_batch", classifier, settings, batch)
    places = [_told(result) for result in outcome.value] if isinstance(outcome.value, list) else []
    expect(
        (outcome.error is not None and outcome.error.type == "RuntimeError") or places == ["RuntimeError"] * 2,
        sent="run_batch(classifier, limits, [red, blue]) while classifier.run raises RuntimeError",
        got=outcome if outcome.error else places or outcome,
        expected="RuntimeError, raised or in both places",
        cause="the try around decode reaches too far, and hides what the model raised",
    )


# 5.4


def _batcher(probe: Probe, **options: Any) -> tuple[Ref, Ref, Ref]:
    """A stand-in for the work, a Batcher in front of it, and the same entered."""
    work = probe.make("work")
    batcher = probe.keep("concurrency.Batcher", work, **options)
    return work, batcher, probe.enter(batcher)


def _submit(probe: Probe, batcher: Ref, *data: bytes) -> list[Ref]:
    return [probe.spawn((batcher, "submit"), item) for item in data]


def _occupied(probe: Probe, work: Ref, batcher: Ref) -> Ref:
    """Hold the work, and have it run one upload; what comes now has to wait."""
    probe.method(work, "hold")
    (first,) = _submit(probe, batcher, b"first")
    if not _done(probe, first):
        probe.method(work, "wait", 1)
    else:
        outcome = probe.result(first)
        expect(False, sent="submit(b'first')", got=outcome, expected="that it waits for its answer", cause=_NO_THREAD)
    return first


_ONE_AT_A_TIME = "take gives one job at a time, gone or not: exercise 5.2 comes first"
_NO_JOIN = (
    "queue.join() waits for a task_done() for each job, which nobody calls: wait for the futures in self._unanswered"
)
_NO_THREAD = "the work belongs into a thread: what runs in a coroutine holds the event loop up"


def _answered(probe: Probe, tasks: Sequence[Ref], data: Sequence[bytes], sent: str, cause: str) -> None:
    for task, item in zip(tasks, data, strict=True):
        with _moving(sent, cause):
            outcome = probe.result(task)
        expect(
            outcome.value == b"seen " + item,
            sent=f"{sent}, submit({item!r})",
            got=outcome,
            expected=b"seen " + item,
            cause=cause,
        )


@check("5.4", limit=3)
def answers_everybody(probe: Probe) -> None:
    """submit gives everybody their own answer, or raises their own error, from work that was done in a thread"""
    data = [b"cat %d" % probe.rng.randint(0, 99), b"bad picture", b"dog %d" % probe.rng.randint(0, 99)]
    work, batcher, _ = _batcher(probe)
    first = _occupied(probe, work, batcher)
    tasks = _submit(probe, batcher, *data)
    sent = "three submits in one batch"
    probe.method(work, "release")
    own = (
        "submit gives what its own future gets: return await job.answer; and an exception among the results belongs "
        "to one future alone"
    )
    _answered(probe, [first, *tasks[::2]], [b"first", *data[::2]], sent, own)
    outcome = probe.result(tasks[1])
    expect(
        outcome.error is not None and outcome.error.type == "ValueError",
        sent=f"{sent}, one of them of a bad upload",
        got=outcome,
        expected="ValueError, for this one alone",
        cause=own,
    )
    threads = _seen(probe, work, "threads")
    expect(
        _LOOP not in threads,
        sent=sent,
        got="work on the event loop's own thread",
        expected="a thread",
        cause=_NO_THREAD,
    )


@check("5.4", limit=3)
def works_in_batches(probe: Probe) -> None:
    """what comes while the worker is busy waits in the queue, and is worked on in batches of max_batch at most"""
    data = [b"%c" % letter for letter in b"abcdefg"[: probe.rng.randint(5, 7)]]
    work, batcher, _ = _batcher(probe, max_batch=3)
    first = _occupied(probe, work, batcher)
    tasks = _submit(probe, batcher, *data)
    sent = f"{len(data)} submits while the only worker is busy, max_batch=3"
    waiting = probe.method(batcher, "waiting").value
    batches = "all jobs belong into self._queue, and only the workers take them out: no run for a single one"
    expect(waiting == len(data), sent=sent, got=f"waiting={waiting}", expected=len(data), cause=batches)
    probe.method(work, "release")
    _answered(
        probe, [first, *tasks], [b"first", *data], sent, "a job that is never put into the queue is never answered"
    )
    sizes, rest = _seen(probe, work, "batches"), len(data) - 3
    wanted = [1, 3, min(rest, 3), rest - 3] if rest > 3 else [1, 3, rest]
    cause = batches if max(sizes) > 1 else _ONE_AT_A_TIME
    expect(sizes == wanted, sent=sent, got=f"batches of {sizes}", expected=wanted, cause=cause)


@check("5.4", limit=3)
def refuses_at_once(probe: Probe) -> None:
    """with max_waiting jobs in the queue, one more raises Overloaded at once; who waits is not touched"""
    most = probe.rng.randint(2, 4)
    data = [b"waits %d" % number for number in range(most)]
    work, batcher, _ = _batcher(probe, max_waiting=most)
    first = _occupied(probe, work, batcher)
    tasks = _submit(probe, batcher, *data)
    (late,) = _submit(probe, batcher, b"late")
    sent = f"one more submit while {most} wait, max_waiting={most}"
    expect(
        _done(probe, late),
        sent=sent,
        got="it waits",
        expected="Overloaded, at once",
        cause="await queue.put(…) waits for a place in the queue, and who waits there is bounded by nothing; "
        "put_nowait raises QueueFull",
    )
    outcome = probe.result(late)
    expect(
        outcome.error is not None and outcome.error.type == "Overloaded",
        sent=sent,
        got=outcome,
        expected="Overloaded, which chapter 4's handler turns into 503 with Retry-After",
        cause="asyncio.QueueFull is nobody's 503: catch it, and raise Overloaded",
    )
    probe.method(work, "release")
    _answered(probe, [first, *tasks], [b"first", *data], sent, "who waits already is not touched by one who is refused")


@check("5.4", limit=3)
def forgets_who_leaves(probe: Probe) -> None:
    """a submit that is cancelled while it waits costs nothing: the model never sees its upload"""
    work, batcher, _ = _batcher(probe, max_batch=2)
    first = _occupied(probe, work, batcher)
    leaving, staying = _submit(probe, batcher, b"leaves", b"stays")
    probe.method(leaving, "cancel")
    probe.turns()
    sent = "submit(b'leaves') cancelled in the queue, submit(b'stays')"
    expect(
        _done(probe, leaving),
        sent=sent,
        got="the one that was cancelled goes on",
        expected="CancelledError",
        cause="asyncio.CancelledError is to end submit: do not catch it",
    )
    probe.method(work, "release")
    _answered(probe, [first, staying], [b"first", b"stays"], sent, "who stays gets an answer")
    seen = _seen(probe, work, "seen")
    expect(
        seen == [[b"first"], [b"stays"]],
        sent=sent,
        got=f"runs of {seen}",
        expected=[[b"first"], [b"stays"]],
        cause=_ONE_AT_A_TIME
        if max(map(len, seen)) == 1 and [b"leaves"] in seen
        else "the future of the job must end up cancelled, which `await job.answer` does by itself; "
        "asyncio.shield, or an event that is awaited in its place, keeps that from it",
    )


@check("5.4", limit=3)
def survives_a_run_that_fails(probe: Probe) -> None:
    """when a whole run raises, those in its batch get the error, and the next ones are answered"""
    work, batcher, _ = _batcher(probe)
    probe.method(work, "fail_on", 1)
    (unlucky,) = _submit(probe, batcher, b"unlucky")
    sent = "submit(b'unlucky'), whose run raises RuntimeError"
    died = "the worker has died of it, and nobody is there for the rest"
    with _moving(sent, died):
        outcome = probe.result(unlucky)
    expect(
        outcome.error is not None and outcome.error.type == "RuntimeError",
        sent=sent,
        got=outcome,
        expected="RuntimeError",
        cause="the error of a run belongs to the futures of its batch",
    )
    _answered(probe, _submit(probe, batcher, b"next"), [b"next"], f"{sent}, then submit(b'next')", died)


@check("5.4", limit=3)
def drains(probe: Probe) -> None:
    """leaving the batcher waits until everybody who is in has an answer, and raises Overloaded for who comes then"""
    data = [b"%d" % number for number in range(probe.rng.randint(3, 5))]
    work, batcher, entered = _batcher(probe, max_batch=2)
    first = _occupied(probe, work, batcher)
    tasks = _submit(probe, batcher, *data)
    leaving = probe.spawn((entered, "leave"))
    sent = f"the batcher is left while 1 job is worked on and {len(data)} wait"
    lost = "wait, before the finally, for all futures in self._unanswered; submit must have put its own in there"
    expect(not _done(probe, leaving), sent=sent, got="it ended at once", expected="that it waits for them", cause=lost)
    (late,) = _submit(probe, batcher, b"late")
    expect(
        _done(probe, late),
        sent=f"{sent}; another submit now",
        got="it waits",
        expected="Overloaded",
        cause="self._closed = True first, before anything is waited for; and submit asks for it",
    )
    outcome = probe.result(late)
    expect(
        outcome.error is not None and outcome.error.type == "Overloaded",
        sent=f"{sent}; another submit now",
        got=outcome,
        expected="Overloaded",
        cause="submit asks self._closed before it puts anything into the queue",
    )
    probe.method(work, "release")
    _answered(probe, [first, *tasks], [b"first", *data], sent, lost)
    with _moving(sent, _NO_JOIN, "that it ends when all are answered"):
        outcome = probe.result(leaving)
    expect(outcome.error is None, sent=sent, got=outcome, expected="no error", cause="")


@check("5.4", limit=3)
def ends_when_idle(probe: Probe) -> None:
    """a batcher in which nobody waits is left at once"""
    _, batcher, entered = _batcher(probe)
    _answered(probe, _submit(probe, batcher, b"a"), [b"a"], "one submit", "")
    with _moving("the batcher is left after its only job", f"nobody waits; {_NO_JOIN}", "that it ends at once"):
        outcome = probe.method(entered, "leave")
    expect(
        outcome.error is None,
        sent="the batcher is left after its only job",
        got=outcome,
        expected="no error",
        cause="asyncio.wait refuses an empty set: ask first whether anybody waits",
    )


@check("5.4", limit=5)
def answers_503(probe: Probe) -> None:
    """in the service: with the queue full POST /predict answers 503 with Retry-After, and those who wait get theirs"""
    classifier = probe.make("classifier")
    options = {"workers": 1, "max_batch": 1, "max_waiting": 1}
    outcome = probe.start(settings=options, state={"classifier": classifier}, lifespan=("concurrency",))
    expect(
        not outcome.error, sent="the start of the service", got=outcome, expected="a service", cause="lifespan raises"
    )
    requests = [_upload(colour) for colour in _pictures(probe, 3)]
    reply = probe.send(requests[0])
    alone = "even a picture that comes alone has to be put into the queue, and answered"
    expect(reply.status == 200, sent=requests[0], got=reply, expected="200", cause=alone)
    probe.method(classifier, "hold")
    inside = [probe.begin(requests[0])]
    probe.method(classifier, "wait", 2)
    inside.append(probe.begin(requests[1]))
    probe.turns()
    reply = probe.send(requests[2])
    expect(
        reply.status == 503 and reply.headers.get("retry-after") == "1",
        sent=f"{requests[2]} while one picture is worked on and one waits, max_waiting=1",
        got=f"{reply}, Retry-After: {reply.headers.get('retry-after')}",
        expected="503 with Retry-After: 1",
        cause="Overloaded has both, as status and retry_after, and chapter 4's handler turns it into the answer",
    )
    probe.method(classifier, "release")
    for request, begun in zip(requests, inside, strict=False):
        reply = probe.reply(begun)
        expect(
            reply.status == 200, sent=request, got=reply, expected="200", cause="it was in before the queue was full"
        )


def _upload(colour: str) -> Request:
    return Request("POST", "/predict", files={"file": (f"{colour}.png", _png(colour), "image/png")})


# 5.5

_POST = Request("POST", "/predict", content=b"x" * 1000)
_LONG = 30.0  # seconds of patience that no check ever waits for


def _admission(probe: Probe, limit: int, patience: float, **options: Any) -> Ref:
    """A small app behind an Admission, to which requests go from now on."""
    app = probe.make("app", **options)
    outcome = probe.layer("concurrency.Admission", app, limit=limit, patience=patience)
    expect(not outcome.error, sent=f"Admission(app, {limit=}, {patience=})", got=outcome, expected="a layer", cause="")
    return app


def _fill(probe: Probe, app: Ref, number: int) -> list[Ref]:
    """Hold the app, and have so many POST requests inside."""
    probe.method(app, "hold")
    inside = [probe.begin(_POST) for _ in range(number)]
    probe.turns()
    return inside


def _kept_out(probe: Probe, app: Ref, inside: int, number: int, sent: str, cause: str) -> list[Reply]:
    """Send so many more POST requests while so many are inside, none of which may come in; their replies."""
    more = [probe.begin(_POST) for _ in range(number)]
    probe.turns()
    _entered(probe, app, inside, sent, cause)
    with _moving(sent, cause):
        return [probe.reply(request) for request in more]


def _ok(reply: Reply, sent: str, cause: str) -> None:
    expect(reply.status == 200, sent=sent, got=reply, expected="200", cause=cause)


def _entered(probe: Probe, app: Ref, wanted: int, sent: str, cause: str) -> None:
    entered = _seen(probe, app, "entered")
    expect(entered == wanted, sent=sent, got=f"{entered} came in", expected=f"{wanted} come in", cause=cause)


_NO_TURN = (
    "a place that gets free belongs to one who waits: await the semaphore's acquire(), bounded by asyncio.timeout"
)


@check("5.5", limit=3)
def bounds_who_is_inside(probe: Probe) -> None:
    """at most `limit` POST requests are in the app at once; one more waits, and gets the place that becomes free"""
    limit = probe.rng.randint(2, 4)
    app = _admission(probe, limit, _LONG)
    requests = _fill(probe, app, limit + 3)
    sent = f"{limit + 3} POST requests at once, limit={limit}, patience={_LONG:g}"
    let_in = "everybody is let in: a place is taken before the app is called, and given back after it"
    _entered(probe, app, limit, sent, let_in)
    probe.method(app, "release")
    with _moving(sent, _NO_TURN):
        replies = [probe.reply(request) for request in requests]
    for reply in replies:
        _ok(reply, sent, _NO_TURN)
    most = _seen(probe, app, "at_once")
    expect(most == limit, sent=sent, got=f"{most} at once", expected=limit, cause=let_in)


@check("5.5", limit=3)
def refuses_unread(probe: Probe) -> None:
    """after `patience` seconds without a place: 503 as a problem, Retry-After: 1, no byte of the body read"""
    limit, patience = probe.rng.randint(1, 3), 0.01
    app = _admission(probe, limit, patience)
    inside = _fill(probe, app, limit)
    sent = f"{_POST} while {limit} are inside, {limit=}, {patience=}"
    late = "patience bounds the wait for a place, who is refused never comes in, and nothing blocks the event loop"
    (reply,) = _kept_out(probe, app, limit, 1, sent, late)
    expect(
        reply.status == 503,
        sent=sent,
        got=reply,
        expected="503",
        cause="in front of the app nobody turns an exception into an answer: make a response, and call it"
        if reply.status == 500
        else "after its patience a request is refused",
    )
    retry, kind = reply.headers.get("retry-after"), reply.headers.get("content-type")
    expect(
        retry == "1" and kind == "application/problem+json",
        sent=sent,
        got=f"{reply.status}, Retry-After: {retry}, Content-Type: {kind}",
        expected="Retry-After: 1, and application/problem+json",
        cause='problem(Request(scope), 503, "…", headers={"Retry-After": "1"}) of chapter 4 has both',
    )
    expect(
        reply.sent_bytes == 0,
        sent=sent,
        got=f"{reply.sent_bytes} bytes of the body were read",
        expected="0",
        cause="a body that was received has cost its time already: no receive(), no request.body(), before there is "
        "a place",
    )
    _entered(probe, app, limit, sent, late)
    probe.method(app, "release")
    for begun in inside:
        _ok(probe.reply(begun), f"{_POST}, which had a place", "one who is inside is not touched by one who is refused")


@check("5.5", limit=3)
def gives_the_place_back(probe: Probe) -> None:
    """a place comes back whatever happened: an answer, an error of the app, a task that was cancelled"""
    sent = f"POST requests one after the other, limit=1, patience={_LONG:g}"
    lost = (
        "a place that was not given back is lost until the next start: release() belongs into a finally, and an "
        "acquire() in a task of its own must be cancelled too"
    )
    app = _admission(probe, 1, _LONG)
    probe.method(app, "fail_on", 2)
    with _moving(f"{sent}, the second of which raises", lost):
        replies = [probe.send(_POST) for _ in range(4)]
    for reply in (replies[0], *replies[2:]):
        _ok(reply, f"{sent}, the second of which raises", lost)
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
    for order in ("the one inside first", "the one that waits first"):
        app = probe.make("app")
        layer = probe.keep("concurrency.Admission", app, limit=1, patience=_LONG)
        probe.method(app, "hold")
        tasks = [probe.spawn(layer, scope, None, None) for _ in range(2)]
        for task in tasks if order == "the one inside first" else reversed(tasks):
            probe.method(task, "cancel")
            probe.turns()
        before = _seen(probe, app, "entered")
        probe.spawn(layer, scope, None, None)
        expect(
            _seen(probe, app, "entered") > before,
            sent=f"two POST requests, limit=1; their tasks are cancelled, {order}; then another request",
            got="it is not let in, though nobody is inside",
            expected="that it is let in",
            cause=lost,
        )


@check("5.5", limit=3)
def a_refusal_frees_nothing(probe: Probe) -> None:
    """one that was refused had no place to give back: afterwards there are as many as before"""
    app = _admission(probe, 1, 0.005)
    inside = _fill(probe, app, 1)
    sent = "6 POST requests while one of them stays inside, limit=1, patience=0.005"
    twice = "release() only after acquire(): with both in one try, each refusal makes room for one more"
    refused = [reply for number in (3, 2) for reply in _kept_out(probe, app, 1, number, sent, twice)]
    expect(
        [reply.status for reply in refused] == [503] * 5,
        sent=sent,
        got=[reply.status for reply in refused],
        expected="503 for all others",
        cause=twice,
    )
    probe.method(app, "release")
    probe.reply(inside[0])


@check("5.5", limit=3)
def may_have_no_patience(probe: Probe) -> None:
    """a patience of 0 refuses at once who finds no place, and lets in who finds one"""
    app = _admission(probe, 1, 0)
    sent, free = f"{_POST}, limit=1, patience=0", "a free place takes no time: ask for it before the time is up"
    _ok(probe.send(_POST), f"{sent}, with nobody else there", free)
    inside = _fill(probe, app, 1)
    bound = "0 is a bound, not none"
    (reply,) = _kept_out(probe, app, 2, 1, f"{sent}, with one inside", bound)
    expect(reply.status == 503, sent=f"{sent}, with one inside", got=reply, expected="503", cause=bound)
    probe.method(app, "release")
    probe.reply(inside[0])


@check("5.5", limit=3)
def lets_others_pass(probe: Probe) -> None:
    """other methods than POST, and scopes that are no requests, go straight through, however full it is"""
    app = _admission(probe, 1, 0.005)
    inside = _fill(probe, app, 1)
    gets = [probe.begin(Request(method, "/health")) for method in ("GET", "HEAD", "OPTIONS")]
    probe.turns()
    sent = "GET, HEAD and OPTIONS /health while all places are taken"
    health = "whoever asks for /health wants to know just now: only POST requests need a place"
    _entered(probe, app, 4, sent, health)
    probe.method(app, "release")
    for begun in (*inside, *gets):
        _ok(probe.reply(begun), sent, health)
    layer = probe.keep("concurrency.Admission", app, limit=1, patience=_LONG)
    outcome = probe.call(layer, {"type": "lifespan", "asgi": {}}, None, None)
    scopes = _seen(probe, app, "scopes")
    expect(
        outcome.error is None and scopes[-1] == "lifespan",
        sent='a scope of type "lifespan", by which a server tells the app to start',
        got=outcome if outcome.error else "it does not reach the app",
        expected="that it goes straight through",
        cause='it has no method: ask scope["type"] first, or scope.get("method")',
    )
