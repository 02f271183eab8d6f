"""Chapter 4: whatever a client sends gets an answer, and every error has one shape."""

import asyncio
import io
import json
import logging
import re
import socket
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from http.client import responses
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import httpx2
import torch
from fastapi import APIRouter, FastAPI, Request, Response, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from PIL import Image, ImageOps
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .fetch import get
from .inference import open_image, rank
from .settings import Settings
from .validation import PredictionRequest, PredictionResponse, Threshold, TopK


# exercise 4.1
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
    # Plain ASCII: a client may have sent half a character (a lone surrogate), which UTF-8 cannot hold.
    headers = {"X-Request-ID": request_id(request)} | dict(headers or {})
    return Response(json.dumps(body | members), status, headers, media_type="application/problem+json")


# exercise 4.2
class ServiceError(Exception):
    """An error that is the client's to know: its text becomes the detail. `retry_after` is in seconds."""

    status = 500
    retry_after: int | None = None


class ModelNotLoaded(ServiceError):
    """There is no model yet."""

    status = 503
    retry_after = 5


class TooLarge(ServiceError):
    """More bytes or pixels than are let in."""

    status = 413


class NotAPicture(ServiceError):
    """Bytes of a kind that is not served."""

    status = 415


class BadPicture(ServiceError):
    """A picture that is broken, or of a shape that nothing can be seen in."""

    status = 422


class BadAddress(ServiceError):
    """A URL that leads where requests may not go."""

    status = 422


class NotServed(ServiceError):
    """A model that is known, and is not the one that is loaded."""

    status = 422


class FetchFailed(ServiceError):
    """A picture that its own server did not give: the client named it, so this is no fault of ours, and no 502."""

    status = 422


async def service_error(request: Request, error: ServiceError) -> Response:
    """Answer an error of our own."""
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after else None
    return problem(request, error.status, str(error), headers=headers)


async def http_error(request: Request, error: HTTPException) -> Response:
    """Answer an error of the framework, such as 404 or 405."""
    detail = error.detail
    if detail == responses.get(error.status_code):  # no more than the title says
        detail = f"{request.method} {request.scope['path']} is not to be had here; /docs lists what is."
    return problem(request, error.status_code, detail, headers=error.headers)


async def invalid_request(request: Request, error: RequestValidationError) -> Response:
    """Answer a request that breaks the rules of chapter 2."""
    found = faults(error.errors())
    detail = "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in found)
    return problem(request, 422, detail, errors=found)


async def unforeseen_error(request: Request, error: Exception) -> Response:
    """Answer a fault of ours. What happened is for the log, where the server writes it; the client can quote the id."""
    logging.getLogger("labserve").error("%s in request %s", type(error).__name__, request_id(request))
    return problem(request, 500, "Something went wrong here. Quote the request_id when you report it.")


def install(app: FastAPI) -> None:
    """Answer every error in one shape, bound every body, and have `alone` classify until there is better."""
    app.exception_handler(ServiceError)(service_error)
    app.exception_handler(HTTPException)(http_error)
    app.exception_handler(RequestValidationError)(invalid_request)
    app.exception_handler(Exception)(unforeseen_error)
    app.add_middleware(BodyLimit, limit=app.state.settings.max_body_bytes)
    app.state.engine = alone


# exercise 4.3
def room(headers: Headers, limit: int) -> int:
    """How many bytes a body may have: only an upload needs `limit`; 64 KiB are plenty for anything else, such as JSON.

    (Ten megabytes of JSON with a million unknown fields keep a validator busy for 13 seconds, in 2 GB.)
    """
    return limit if headers.get("content-type", "").lower().startswith("multipart/form-data") else min(limit, 2**16)


class BodyLimit:
    """An ASGI layer: a body for which there is no `room` within `limit` is refused with 413 as soon as that is known.

    One that says its length is not read at all, any other only as far as there is room. One that has not come after
    `seconds` is refused with 408: it would keep its place from those who send. (Starlette's own layer of this
    kind answers in plain text.)
    """

    def __init__(self, app: ASGIApp, limit: int, seconds: float = 20.0) -> None:
        self._app, self._limit, self._seconds = app, limit, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        limit, received = room(headers, self._limit), 0
        deadline: float | None = asyncio.get_running_loop().time() + self._seconds
        detail = f"The body has more than {limit:,} bytes."
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:18]) > limit:  # int() refuses thousands of digits
            return await problem(Request(scope), 413, detail)(scope, receive, send)

        async def counting() -> Message:
            nonlocal received, deadline
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"The body did not come within {self._seconds:g} seconds.") from None
            if not message.get("more_body"):
                deadline = None  # what is still to come is that the client leaves
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, detail)  # FastAPI lets this one pass while it reads a form
            return message

        await self._app(scope, counting, send)


# exercise 4.4
SIGNATURE = re.compile(rb"(?P<JPEG>\xff\xd8\xff)|(?P<PNG>\x89PNG\r\n\x1a\n)|(?P<GIF>GIF8)|(?P<WEBP>RIFF....WEBP)", re.S)


def drawn(data: bytes, size: tuple[int, int]) -> int:
    """How many pixels are drawn to decode this: a JPEG may come in scans, and each may draw the whole picture anew."""
    scans = data.count(b"\xff\xda") if data.startswith(b"\xff\xd8") else 1
    return size[0] * size[1] * max(scans, 1)


def decode(data: bytes, limits: Settings) -> Image.Image:
    """The picture as a person would see it (RGB, upright, on white), decoded only if its header says that it may be.

    Raises NotAPicture for bytes of another kind, whatever their name; TooLarge above `limits.max_pixels`; BadPicture
    where it is empty, broken, cut off, or longer than `limits.max_aspect` times its width.
    """
    kind = SIGNATURE.match(data)
    if not data:
        raise BadPicture("The file is empty.")
    if not kind:
        raise NotAPicture("Send a JPEG, PNG, GIF or WebP; these bytes are none.")
    try:
        with Image.open(io.BytesIO(data), formats=[kind.lastgroup or ""]) as image:
            width, height = image.size
            if width * height > limits.max_pixels:
                raise TooLarge(f"The picture has {width} × {height} pixels; {limits.max_pixels:,} are the limit.")
            if drawn(data, image.size) > 20 * limits.max_pixels:  # 200 kB can keep a core busy for seconds
                raise TooLarge("The picture draws itself anew too many times.")
            if max(width, height) > limits.max_aspect * min(width, height):
                raise BadPicture(f"The picture is {width} × {height} pixels: too long for its width to be seen.")
            sixteen_bits = image.mode.startswith("I")
            image.verify()  # the checksums of a PNG
        return open_grey(data) if sixteen_bits else open_image(data)
    except Image.DecompressionBombError as error:
        raise TooLarge(f"The picture has more pixels than the limit of {limits.max_pixels:,}.") from error
    except ServiceError:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error …
        raise BadPicture(f"This {kind.lastgroup} is damaged or cut off.") from error


def open_grey(data: bytes) -> Image.Image:
    """A picture in 16 bits of grey as RGB, which `convert` would cut off at 255; upright, on white."""
    eight_bits = [grey // 257 for grey in range(2**16)]
    with Image.open(io.BytesIO(data)) as image:
        eight_bits[image.info.get("transparency", -1)] = 255  # one grey may stand for nothing
        return ImageOps.exif_transpose(image).convert("I").point(eight_bits, "L").convert("RGB")


@dataclass(frozen=True)
class Classified:
    """One picture seen: probabilities (classes,), embedding (features,), and the seconds that the model took."""

    probabilities: torch.Tensor
    embedding: torch.Tensor
    seconds: float


def classify(app: FastAPI, data: bytes) -> Classified:
    """Decode and classify one picture; ModelNotLoaded while there is no model."""
    classifier = getattr(app.state, "classifier", None)
    if classifier is None:
        raise ModelNotLoaded("The model is being loaded; try again.")
    image = decode(data, app.state.settings)
    started = time.perf_counter()
    output = classifier.run([image])
    return Classified(output.probabilities[0], output.embeddings[0], time.perf_counter() - started)


async def alone(request: Request, data: bytes) -> Classified:
    """The plain engine: each picture in a run of its own, in a thread of the pool."""
    return await run_in_threadpool(classify, request.app, data)


async def answer(request: Request, data: bytes, top_k: int, threshold: float) -> PredictionResponse:
    """What the service says of these bytes, by the engine that is installed."""
    seen = await request.app.state.engine(request, data)
    classifier = request.app.state.classifier
    return PredictionResponse(
        predictions=rank(seen.probabilities, classifier.labels, top_k, threshold),
        model=classifier.name,
        inference_time_ms=round(seen.seconds * 1000, 2),
    )


router = APIRouter()


@router.post("/predict")
async def predict(
    request: Request, file: UploadFile, top_k: TopK = 5, threshold: Threshold = 0.0
) -> PredictionResponse:
    """Classify an uploaded picture. The time is that of the model, from pixels to probabilities."""
    return await answer(request, await file.read(), top_k, threshold)


# exercise 4.5
_UNICAST = IPv6Network("2000::/3")  # the part of IPv6 that is given to machines of the open internet
# Python calls parts of these global. Behind them are boxes of your own network or of your cloud, and examples.
_NEVER = [ip_network(text) for text in ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "3fff::/20")]


async def resolve(url: str, allowed: Collection[str]) -> str:
    """The address to connect to for this URL: the only one that was checked.

    Raises BadAddress unless the URL is http(s), on the usual port, and every address of its host is public; an
    "address:port" in `allowed` need not be. Raises FetchFailed if the host has no address.
    """
    usual = {"http": 80, "https": 443}
    parts = httpx2.URL(url)
    if parts.scheme not in usual or not parts.host:
        raise BadAddress("The URL must begin with http:// or https:// and name a host.")
    port = usual[parts.scheme] if parts.port is None else parts.port
    try:
        found = await asyncio.get_running_loop().getaddrinfo(parts.raw_host, None, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:  # ValueError: a name that is no name
        raise FetchFailed(f"There is no host {parts.host}.") from error
    addresses = [ip_address(info[4][0]) for info in found]
    for address in addresses:
        if f"{address}:{port}" not in allowed and (port != usual[parts.scheme] or not is_public(address)):
            raise BadAddress(f"{parts.host}, port {port}, is not a public web server.")
    return str(addresses[0])


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether the address belongs to a machine of the open internet, whichever way it is wrapped."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return is_public(address.ipv4_mapped)
        if address not in _UNICAST or address.sixtofour or address.teredo:  # the two hold IPv4 addresses, unchecked
            return False
    return address.is_global and not address.is_multicast and not any(address in network for network in _NEVER)


async def fetch(url: str, settings: Settings) -> bytes:
    """The bytes behind a URL, every hop checked; bounded in size, time and redirects."""
    try:
        async with asyncio.timeout(settings.fetch_seconds):
            for _ in range(4):
                hop = await get(url, await resolve(url, settings.url_allowed), settings.max_body_bytes)
                if hop.location is None:
                    break
                url = str(httpx2.URL(url).join(hop.location))
    except TimeoutError as error:
        raise FetchFailed(f"The picture did not come within {settings.fetch_seconds:g} seconds.") from error
    except httpx2.InvalidURL as error:
        raise BadAddress(f"The URL cannot be read: {error}.") from error
    except httpx2.HTTPError as error:
        raise FetchFailed(f"The picture could not be fetched: {type(error).__name__}.") from error
    if hop.status != 200:
        raise FetchFailed(f"The picture's server answered {hop.status}.")
    if len(hop.body) > settings.max_body_bytes:
        raise TooLarge(f"The picture has more than {settings.max_body_bytes:,} bytes.")
    return hop.body


@router.post("/predict/url")
async def predict_url(request: Request, wanted: PredictionRequest) -> PredictionResponse:
    """Classify the picture at a URL, by the model that is loaded; another one cannot be asked for."""
    loaded = getattr(getattr(request.app.state, "classifier", None), "name", None)
    if loaded and "model_name" in wanted.model_fields_set and wanted.model_name != loaded:
        raise NotServed(f"This service runs {loaded}, not {wanted.model_name}: leave model_name out.")
    data = await fetch(wanted.image_url, request.app.state.settings)
    return await answer(request, data, wanted.top_k, wanted.threshold)
