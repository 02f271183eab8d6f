"""Chapter 4 under attack: nothing that a client or a picture's server sends is a 500, a stall, or a way inside."""

import asyncio
import io
import json
import socket
import ssl
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
import torch
from fastapi import FastAPI
from PIL import Image
from starlette.exceptions import HTTPException

from labserve.tray import Hostile, tray
from solutions import errors, hello, validation
from solutions.errors import BadAddress, BadPicture, FetchFailed, NotAPicture, TooLarge, decode, fetch, is_public
from solutions.settings import Settings

LIMITS = Settings(_env_file=None)


class Model:
    """Answers the same for every picture."""

    name, labels, device = "model", ["a", "b"], "cpu"

    def run(self, images: Sequence[Image.Image]) -> SimpleNamespace:
        return SimpleNamespace(probabilities=torch.tensor([[0.75, 0.25]]), embeddings=torch.zeros(1, 4))


@cache
def service(**settings: Any) -> FastAPI:
    app = FastAPI()
    app.state.settings, app.state.classifier = Settings(**settings), Model()
    for module in (hello, validation, errors):
        app.include_router(module.router)
    errors.install(app)
    return app


def ask(app: FastAPI, method: str, path: str, **request: Any) -> httpx2.Response:
    async def asking() -> httpx2.Response:
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.request(method, path, **request)

    return asyncio.run(asking())


def is_problem(reply: httpx2.Response, *statuses: int) -> bool:
    body = json.loads(reply.content.decode("ascii"))
    assert reply.headers["content-type"] == "application/problem+json"
    assert body["status"] == reply.status_code
    assert body["request_id"] == reply.headers["x-request-id"]
    return reply.status_code in statuses


# what is sent as JSON

JSON = {"content-type": "application/json"}
URL = b'"image_url": "https://example.com/cat.jpg"'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[1]",
        b'"text"',
        b"\xff\xfe\x00",
        b"[" * 50_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b'{%s, "top_k": NaN, "threshold": NaN}' % URL,
        b'{%s, "top_k": 1e999}' % URL,
        b'{%s, "top_k": %s}' % (URL, b"9" * 4_000),
        b'{%s, "top_k": %s}' % (URL, b"9" * 40_000),
        b'{%s, "model_name": "\\ud800"}' % URL,
        b'{%s, "\\udfff": 1}' % URL,
        b'{"image_url": "https://a\\u0000b/"}',
        b'{"image_url": "https://\\ud800/"}',
        b'{"image_url": "http:///"}',
        b'{"image_url": "https://xn--/"}',
    ],
    ids=lambda body: ascii(body[:40]),
)
def test_a_body_that_is_no_request_is_a_problem_of_the_client(body: bytes) -> None:
    assert is_problem(ask(service(), "POST", "/predict/url", content=body, headers=JSON), 400, 422)


def test_a_thousand_faults_are_told_in_twenty_and_a_million_are_not_read() -> None:
    fields = {"image_url": "https://example.com/cat.jpg"} | {f"field_{number}": 0 for number in range(1000)}
    reply = ask(service(), "POST", "/predict/url", json=fields)
    assert is_problem(reply, 422)
    assert len(reply.json()["errors"]) == 20
    fields |= {f"field_{number}": 0 for number in range(10_000)}
    assert is_problem(ask(service(), "POST", "/predict/url", json=fields), 413)


def test_what_was_sent_is_not_sent_back() -> None:
    reply = ask(
        service(), "POST", "/validate", json={"image_url": "https://u:hunter2@example.com/", "top_k": "hunter2"}
    )
    assert is_problem(reply, 422)
    assert "hunter2" not in reply.text


# what is sent as a form

PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\nabc\r\n--x--\r\n'


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", PART),
        ("multipart/form-data; boundary=", PART),
        ("multipart/form-data; boundary=y", PART),
        (f"multipart/form-data; boundary={'x' * 10_000}", PART),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", PART[:50]),
        ("multipart/form-data; boundary=x", PART[:-8]),
        ("multipart/form-data; boundary=x", PART.replace(b' filename="a.jpg"', b"")),
        ("multipart/form-data; boundary=x", PART.replace(b"a.jpg", b"\xff\x00\xed\xa0\x80")),
        ("multipart/form-data; boundary=x", PART.replace(b'name="file"; ', b"")),
        ("multipart/form-data; boundary=x", PART.replace(b'name="file"', b'name="other"')),
        ("multipart/form-data; boundary=x", PART.replace(b"Content-Disposition", b"\xff\x00")),
        ("multipart/form-data; boundary=x", PART[:-9] * 2_000 + PART),
        *((f"multipart/form-data; boundary=x; charset={name}", PART) for name in ("punycode", "hex", "utf-16", "idna")),
        ("multipart/mixed; boundary=x", PART),
        ("application/x-www-form-urlencoded", b"file=%ff%00&" * 100),
        ("application/json", b'{"file": "abc"}'),
        ("\xff;=", PART),
    ],
    ids=lambda value: ascii(value[:60]),
)
def test_a_form_that_is_none_is_a_problem_of_the_client(kind: str, body: bytes) -> None:
    reply = ask(service(), "POST", "/predict", content=body, headers={"content-type": kind.encode("latin-1")})
    assert is_problem(reply, 400, 413, 415, 422)


@pytest.mark.parametrize("length", ["-1", "+5", "many", "1_0", "", "\xb2", "9" * 5_000])
def test_a_content_length_that_is_none_is_no_fault_of_ours(length: str) -> None:
    headers = {"content-type": b"multipart/form-data; boundary=x", "content-length": length.encode("latin-1")}
    assert is_problem(ask(service(), "POST", "/predict", content=PART, headers=headers), 413, 415)


@pytest.mark.parametrize("host", [b"[", b"a]b", b"\xff\xfe", b"", b"a b", b"[::1"])
@pytest.mark.parametrize("path", ["/nowhere", "/predict", "/a%3Fb%23c%00%ED%A0%80"])
def test_an_odd_host_header_or_path_still_gets_its_answer(host: bytes, path: str) -> None:
    assert is_problem(ask(service(), "GET", path, headers={"host": host}), 404, 405)


async def body_in_pieces(limit: int, pieces: Sequence[bytes], path: str, kind: bytes) -> tuple[int, int]:
    """Send pieces without a length; the status, and how many were asked for."""
    asked, sent = 0, []

    async def receive() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": pieces[asked - 1], "more_body": asked < len(pieces)}

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    headers = [(b"content-type", kind)]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
    await service(max_body_bytes=limit)(scope, receive, send)  # type: ignore[arg-type]
    return sent[0]["status"], asked


def test_a_body_is_read_only_as_far_as_it_may_go() -> None:
    form = [PART[: -len(b"\r\n--x--\r\n")]] + [bytes(1_000)] * 100
    assert asyncio.run(body_in_pieces(2_500, form, "/predict", b"multipart/form-data; boundary=x")) == (413, 4)
    blanks = [b" " * 10_000] * 100
    assert asyncio.run(body_in_pieces(10**7, blanks, "/predict/url", b"application/json")) == (413, 7)


# pictures


@pytest.mark.parametrize("hostile", tray(), ids=lambda hostile: hostile.name)
def test_every_upload_of_the_tray_gets_its_status(hostile: Hostile) -> None:
    reply = ask(service(), "POST", "/predict", files={"file": (hostile.filename, hostile.data, hostile.content_type)})
    assert reply.status_code == hostile.expected, reply.text


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def png(
    width: int, height: int, depth: int, colour: int, pixels: bytes, *chunks: tuple[bytes, bytes], end: bytes = b""
) -> bytes:
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)),
        *chunks,
        (b"IDAT", zlib.compress(pixels)),
        (b"IEND", end),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


GREY16 = b"".join(b"\0" + struct.pack(">4H", 0, 257, 128 * 257, 65535) for _ in range(4))
EXIF = Image.Exif()
EXIF[0x112] = 6  # turn it to the right


@pytest.mark.parametrize(
    ("data", "top_row"),
    [
        (png(4, 4, 16, 0, GREY16), [0, 1, 128, 255]),
        (png(4, 4, 16, 0, GREY16, (b"tRNS", b"\0\0")), [255, 1, 128, 255]),
        (png(4, 4, 16, 0, GREY16, (b"eXIf", EXIF.tobytes()[6:])), [0, 0, 0, 0]),
        (png(4, 4, 8, 0, b"\0\0\1\x80\xff" * 4, (b"tRNS", b"\0\0")), [255, 1, 128, 255]),
        (png(4, 4, 1, 0, b"\0\x50" * 4), [0, 255, 0, 255]),
        (png(4, 4, 8, 4, b"\0" + b"\0\0\1\xff\x80\xff\xff\xff" + (b"\0" + bytes(8)) * 3), [255, 1, 128, 255]),
    ],
    ids=["16 bits", "16 bits, black hidden", "16 bits, turned", "8 bits, black hidden", "1 bit", "grey and alpha"],
)
def test_greys_of_every_depth_are_seen(data: bytes, top_row: list[int]) -> None:
    seen = decode(data, LIMITS)
    assert seen.mode == "RGB"
    assert [seen.getpixel((x, 0)) for x in range(4)] == [(grey,) * 3 for grey in top_row]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "MPO"])
def test_a_picture_cut_anywhere_is_never_more_than_the_client_s_fault(kind: str) -> None:
    picture = Image.effect_noise((24, 24), 80).convert("RGB")
    data = saved(picture, kind, **({"save_all": True, "append_images": [picture]} if kind in ("GIF", "MPO") else {}))
    for length in range(len(data)):
        with suppress(BadPicture, NotAPicture):
            assert decode(data[:length], LIMITS).size == (24, 24)  # what was lost lay behind the first frame
    if kind in ("JPEG", "PNG", "WEBP"):
        with pytest.raises(BadPicture):
            decode(data[:-10], LIMITS)


@pytest.mark.parametrize(
    "data",
    [
        png(4, 4, 8, 0, bytes(20), *((b"zTXt", b"a\0\0" + zlib.compress(bytes(900_000))),) * 100),
        png(4, 4, 8, 0, bytes(20), (b"iCCP", b"a\0\0" + zlib.compress(bytes(50_000_000)))),
        png(0, 4, 8, 0, bytes(20)),
        png(4, 4, 16, 0, GREY16, (b"tRNS", b"")),
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff" * 1000,
        b"GIF89a" + b"\xff" * 100,
        b"RIFF\x20\0\0\0WEBPVP8X" + bytes(30),
    ],
    ids=lambda data: ascii(data[:20]),
)
def test_a_picture_that_swells_or_is_none_is_broken(data: bytes) -> None:
    with pytest.raises(BadPicture):
        decode(data, LIMITS)


def test_a_jpeg_that_draws_itself_over_and_over_is_too_large() -> None:
    data = saved(Image.new("L", (2000, 2000), 128), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    decode(data, LIMITS)
    with pytest.raises(TooLarge, match="too many times"):
        decode(data[:last] + data[last:-2] * 300 + data[-2:], LIMITS)


@pytest.mark.parametrize("size", [(16_000, 4_000), (13_300, 13_300), (60_000, 60_000)])
@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_header_alone_can_be_too_large(kind: str, size: tuple[int, int]) -> None:
    if kind == "PNG":
        data = png(*size, 1, 0, b"rubbish")
    else:
        data = b"GIF89a" + struct.pack("<HHBBB", *size, 0, 0, 0) + b"," + struct.pack("<HHHHB", 0, 0, *size, 0) + b"\2"
    with pytest.raises(TooLarge):
        decode(data, LIMITS)


def test_a_decoder_s_words_stay_inside() -> None:
    for data in (b"", b"GIF89a", b"\xff\xd8\xff", png(4, 4, 8, 0, b"")[:-20]):
        with pytest.raises(BadPicture) as caught:
            decode(data, LIMITS)
        assert "BytesIO" not in str(caught.value)


# addresses


INSIDE = """
    127.0.0.1 10.0.0.1 172.31.255.255 192.168.1.1 169.254.169.254 0.0.0.0 0.1.2.3 100.64.0.1 192.0.0.1 192.0.2.1
    198.18.0.1 203.0.113.1 224.0.0.1 239.1.2.3 240.0.0.1 255.255.255.255 :: ::1 ::127.0.0.1 ::ffff:10.0.0.1
    ::ffff:169.254.169.254 64:ff9b::a00:1 64:ff9b:1::a00:1 2002:a00:1::1 2001:0:1::1 2001:db8::1 fc00::1 fdff::1
    fe80::1 fe80::1%1 fec0::1 ff02::1 ff0e::1 100::1 5f00::1 192.0.0.192 168.63.129.16 192.88.99.1 3fff::1
"""


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:4700::1111", True),
        ("::ffff:8.8.8.8", True),
        *((address, False) for address in INSIDE.split()),
    ],
)
def test_only_machines_of_the_open_internet_are_public(address: str, public: bool) -> None:
    assert is_public(ip_address(address)) is public


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@asynccontextmanager
async def answering(handler: Handler, **options: Any) -> Any:
    """A server on 127.0.0.1 that does this with every connection, once its request has come; its port."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def saying(*pieces: bytes, forever: bool = False) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(pieces))
        await writer.drain()
        while forever:
            writer.write(pieces[-1])
            await writer.drain()
            await asyncio.sleep(0)

    return handler


def got(handler: Handler, **settings: Any) -> bytes:
    async def getting() -> bytes:
        async with answering(handler) as port:
            limits = Settings(url_allowed=frozenset({f"127.0.0.1:{port}"}), **settings)
            return await fetch(f"http://127.0.0.1:{port}/cat.jpg", limits)

    return asyncio.run(getting())


OK = b"HTTP/1.1 200 OK\r\n"


def test_a_picture_is_fetched_as_it_is() -> None:
    assert got(saying(OK, b"Content-Length: 3\r\n\r\nabc")) == b"abc"
    packed = b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
    assert got(saying(OK, packed)) == b"abc"  # nothing is unpacked, so nothing swells


@pytest.mark.parametrize(
    "handler",
    [
        saying(b""),
        saying(b"no HTTP at all\r\n\r\n"),
        saying(OK, b"Content-Length: 100\r\n\r\nabc"),
        saying(OK, b"Content-Length: many\r\n\r\n"),
        saying(OK, b"a: " + b"b" * 1000 + b"\r\n", forever=True),
        saying(b"x" * 65536, forever=True),
        saying(OK, b"Transfer-Encoding: chunked\r\n\r\n1;", b"x" * 65536, forever=True),
        saying(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        saying(b"HTTP/1.1 204 No Content\r\n\r\n"),
        saying(b"HTTP/1.1 302 Found\r\nLocation: /cat.jpg\r\nContent-Length: 0\r\n\r\n"),
    ],
)
def test_a_server_that_gives_no_picture_is_told_as_that(handler: Handler) -> None:
    with pytest.raises(FetchFailed):
        got(handler)


def test_a_server_that_never_ends_is_left_in_time() -> None:
    for handler in (
        saying(OK + b"\r\n", b"", forever=True),
        saying(OK, b"", forever=True),
        saying(b"HTTP/1.1 103 Early Hints\r\n\r\n", forever=True),
    ):
        with pytest.raises(FetchFailed, match=r"within 0\.1 seconds"):
            got(handler, fetch_seconds=0.1)


def test_a_picture_is_not_read_beyond_its_limit() -> None:
    with pytest.raises(TooLarge):
        got(saying(OK, b"\r\n", b"x" * 65536, forever=True), max_body_bytes=200_000)


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "data:image/png;base64,AAAA",
        "unix:///var/run/docker.sock",
        "http://127.0.0.1/",
        "//127.0.0.1/",
        "http://10.0.0.1/",
        "http://[::ffff:127.0.0.1]/",
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://0x7f.1/",
        "http://127.1/",
        "http://user:password@127.0.0.1/",
        "http://8.8.8.8\\@127.0.0.1/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:-1/",
        f"http://127.0.0.1:{10**30}/",
        "http://[::1",
        "http://[v1.x]/",
        "http://\xff\xfe\u24d4/",
    ],
)
def test_a_redirect_is_judged_as_the_first_url_was(location: str) -> None:
    with pytest.raises((BadAddress, FetchFailed)) as caught:
        got(saying(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: ", location.encode("utf-8"), b"\r\n\r\n"))
    assert caught.type is BadAddress or "no host" in str(caught.value)


def test_a_name_is_looked_up_once_and_that_address_is_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    """rebinding.test means an allowed server first, and then another: only the first is asked, for each hop."""
    look_up, asked = socket.getaddrinfo, []

    def rebinding(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host in (b"rebinding.test", "rebinding.test"):
            asked.append(host)
            host = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    hosts = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hosts.append(writer.get_extra_info("sockname")[0])
        writer.write(OK + b"Content-Length: 3\r\n\r\nabc")

    async def getting() -> bytes:
        async with answering(handler) as port:
            return await fetch(f"http://rebinding.test:{port}/", Settings(url_allowed=frozenset({f"127.0.0.1:{port}"})))

    assert asyncio.run(getting()) == b"abc"
    assert (len(asked), hosts) == (1, ["127.0.0.1"])


def test_a_name_with_one_address_inside_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def both(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with pytest.raises(BadAddress):
        asyncio.run(errors.resolve("http://photos.test/", []))


def test_the_request_tells_the_host_and_no_secrets() -> None:
    seen: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Content-Length: 0\r\n\r\n")

    async def getting() -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            await handler(reader, writer)
            writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        await fetch(f"http://me:hunter2@127.0.0.1:{port}/x?y", Settings(url_allowed=frozenset({f"127.0.0.1:{port}"})))
        server.close()

    asyncio.run(getting())
    assert seen[0].startswith(b"GET /x?y HTTP/1.1\r\n")
    assert b"hunter2" not in seen[0] and b"authorization" not in seen[0].lower()


def test_a_certificate_that_nobody_signed_is_not_trusted() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # it has none at all: the handshake fails

    async def getting() -> None:
        async with answering(saying(OK), ssl=context) as port:
            allowed = frozenset({f"127.0.0.1:{port}"})
            with pytest.raises(FetchFailed):
                await fetch(f"https://127.0.0.1:{port}/", Settings(url_allowed=allowed))

    asyncio.run(getting())


def test_a_url_that_leads_inside_is_a_422_and_says_so() -> None:
    for url in ("http://127.0.0.1/", "http://[::1]/", "http://169.254.169.254/latest/meta-data/", "http://localhost/"):
        assert is_problem(ask(service(), "POST", "/predict/url", json={"image_url": url}), 422)


def test_a_body_that_does_not_come_is_given_up_and_one_that_came_may_wait_for_its_answer() -> None:
    """408 after `seconds`; but whoever has sent everything is never timed, however long the answer takes."""
    statuses: list[int] = []

    async def reads_all(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        gone = asyncio.ensure_future(receive())  # the watch for a client that leaves
        await asyncio.sleep(0.1)
        statuses.append(204 if not gone.done() else 500)
        gone.cancel()

    async def stalls() -> Any:
        await asyncio.Event().wait()

    async def main() -> None:
        scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}
        with pytest.raises(HTTPException) as caught:
            await errors.BodyLimit(reads_all, 100, seconds=0.02)(dict(scope), stalls, stalls)
        statuses.append(caught.value.status_code)
        messages = iter([{"type": "http.request", "body": b"all", "more_body": False}])

        async def receive() -> Any:
            for message in messages:
                return message
            await asyncio.Event().wait()

        await errors.BodyLimit(reads_all, 100, seconds=0.02)(dict(scope), receive, receive)

    asyncio.run(main())
    assert statuses == [408, 204]


def test_half_a_character_in_a_file_name_is_no_500() -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="+2AA-"\r\n'
        b"Content-Type: image/jpeg\r\n\r\nabc\r\n--b--\r\n"
    )
    headers = {"content-type": "Multipart/Form-Data; boundary=b; charset=utf-7"}
    for path, status in (("/inspect", 200), ("/predict", 415)):
        assert ask(service(), "POST", path, content=body, headers=headers).status_code == status
