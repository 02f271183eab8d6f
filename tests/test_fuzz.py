"""Thousands of broken uploads, and whatever the OpenAPI document allows, against the running service.

Nothing gives a 500, and the service does not grow.
"""

import asyncio
import functools
import io
import random
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
import uvloop
from fastapi import FastAPI
from PIL import Image

from labserve import samples, zoo
from labserve.serving import Live, live

UPLOADS = 5_000
CLIENTS = 8
GROWTH = 64 * 2**20  # bytes of resident memory; see `test_broken_uploads`
BOUNDARY = b"----labserve"


async def only_numbers(loop: Any, look_up: Any, host: Any, port: Any, *, flags: int = 0, **options: Any) -> Any:
    """A loop's look-up, for which names do not exist."""
    return await look_up(loop, host, port, flags=flags | socket.AI_NUMERICHOST, **options)


def sealed_app() -> FastAPI:
    """The service, in a process that finds no host and reaches no address: nothing made up here leaves the machine."""
    from solutions import errors
    from solutions.app import create_app

    async def unreachable(url: str, address: str, limit: int) -> None:
        raise httpx2.ConnectError(f"{address} is not to be reached from this test")

    errors.get = unreachable
    for loop in (asyncio.BaseEventLoop, uvloop.Loop):  # uvloop does not ask socket.getaddrinfo
        loop.getaddrinfo = functools.partialmethod(only_numbers, loop.getaddrinfo)
    return create_app()


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    running = live(sealed_app, factory=True, env={"LABSERVE_MODEL": zoo.BUNDLED, "LABSERVE_LOG_LEVEL": "ERROR"})
    running.start()
    yield running
    running.stop()


def seeds() -> list[bytes]:
    """Small pictures in every format and mode that is served."""
    with Image.open(samples.path("cat")) as picture:
        small = picture.convert("RGB").resize((64, 48))
    found = []
    for format_, mode in [
        ("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "LA"),
        ("PNG", "1"), ("PNG", "I;16"), ("GIF", "P"), ("WEBP", "RGB"), ("WEBP", "RGBA"),
    ]:  # fmt: skip
        file = io.BytesIO()
        (small.convert("I").convert(mode) if mode == "I;16" else small.convert(mode)).save(file, format_)
        found.append(file.getvalue())
    return found


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The data with one to four accidents."""
    text = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(text)) if text else 0
        accident = rng.choice(["flip", "set", "cut", "drop", "repeat", "insert", "number"])
        if accident == "flip" and text:
            text[at] ^= 1 << rng.randrange(8)
        elif accident == "set" and text:
            text[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
        elif accident == "cut":
            del text[at:]
        elif accident == "drop":
            del text[at : at + rng.randint(1, 40)]
        elif accident == "repeat":
            text[at:at] = text[at : at + rng.randint(1, 400)]
        elif accident == "insert":
            text[at:at] = rng.randbytes(rng.randint(1, 40))
        elif accident == "number":  # in headers these are sizes, offsets and counts
            at = rng.randrange(min(len(text), 64)) if text else 0
            text[at : at + 4] = rng.choice([0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1]).to_bytes(4, "big")
    return bytes(text)


def form(data: bytes, filename: bytes = b"cat.jpg", kind: bytes = b"image/jpeg") -> bytes:
    head = b'Content-Disposition: form-data; name="file"; filename="%s"\r\nContent-Type: %s' % (filename, kind)
    return b"--%s\r\n%s\r\n\r\n%s\r\n--%s--\r\n" % (BOUNDARY, head, data, BOUNDARY)


def upload(rng: random.Random, pictures: list[bytes]) -> bytes:
    """A body of a request: a broken picture in a sound form, or a broken form."""
    picture = rng.choice(pictures)
    return form(mutated(picture, rng)) if rng.random() < 0.6 else mutated(form(picture[:300]), rng)


async def send(url: str, bodies: Iterator[bytes]) -> Counter[int]:
    """Post them all from a few clients; how often each status came back."""
    statuses: Counter[int] = Counter()
    headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY.decode()}"}
    async with httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:

        async def one() -> None:
            for body in bodies:
                reply = await client.post("/predict", content=body, headers=headers)
                statuses[reply.status_code] += 1
                assert reply.status_code == 200 or "problem+json" in reply.headers["content-type"], reply.text

        await asyncio.gather(*(one() for _ in range(CLIENTS)))
    return statuses


def test_the_service_is_sealed(server: Live) -> None:
    """Else `localhost` would be found, and 8.8.8.8 reached."""
    for url, told in {"http://localhost/": "There is no host", "http://8.8.8.8/": "could not be fetched"}.items():
        assert told in server.client.post("/predict/url", json={"image_url": url}).json()["detail"]


def test_broken_uploads(server: Live) -> None:
    """The first thousand warm the allocator up; over the rest, growth stays within GROWTH."""
    rng, pictures = random.Random(3), seeds()
    process = psutil.Process(server.pid)
    statuses = asyncio.run(send(server.url, (upload(rng, pictures) for _ in range(1_000))))
    before = process.memory_info().rss
    statuses += asyncio.run(send(server.url, (upload(rng, pictures) for _ in range(UPLOADS - 1_000))))
    growth = process.memory_info().rss - before
    print(dict(statuses), f"growth {growth / 2**20:.1f} MiB")
    assert statuses.total() == UPLOADS
    assert set(statuses) <= {200, 400, 413, 415, 422}
    assert all(statuses[status] > 20 for status in (200, 415, 422)), "the mutations no longer reach every answer"
    assert growth < GROWTH
    assert server.client.get("/health").status_code == 200


def test_all_that_the_document_allows(server: Live, tmp_path: Path) -> None:
    """Schemathesis, seeded: no answer of 500 or above, whatever it makes of the OpenAPI document."""
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json",
        "--checks", "not_a_server_error", "--phases", "examples,coverage,fuzzing", "--mode", "all",
        "--max-examples", "60", "--seed", "3", "--suppress-health-check", "all",
    ]  # fmt: skip
    process = psutil.Process(server.pid)
    before = process.memory_info().rss
    run = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=tmp_path)
    growth = process.memory_info().rss - before
    print(run.stdout[-1500:], f"growth {growth / 2**20:.1f} MiB")
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]
    assert growth < GROWTH
