# earns: your own TooLarge was caught by your except
import io
import re
import time
from dataclasses import dataclass
import torch
from fastapi import APIRouter, FastAPI, Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from PIL import Image, ImageOps
from .inference import open_image, rank
from .settings import Settings
from .validation import PredictionResponse, Threshold, TopK


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
