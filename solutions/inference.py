"""Chapter 3: from the bytes of a picture to ranked predictions, on the device the machine has."""

import io
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import torch
from fastapi import APIRouter, FastAPI, HTTPException, Request, UploadFile
from PIL import Image, ImageOps
from pydantic import ValidationError
from torchvision.transforms import InterpolationMode  # type: ignore[import-untyped]
from torchvision.transforms.v2 import functional as transforms  # type: ignore[import-untyped]

from labserve import zoo

from .validation import Prediction, PredictionResponse, Threshold, TopK


# exercise 3.1
def open_image(data: bytes) -> Image.Image:
    """The picture as a person would see it: RGB, upright, on white where it is transparent.

    ValueError if the bytes are not a picture that can be read.
    """
    try:
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image.convert("RGB")
    except Exception as error:  # a decoder that stumbles raises OSError, but also SyntaxError, RuntimeError …
        raise ValueError("these bytes are not a picture that can be read") from error


# exercise 3.2
def preprocess(image: Image.Image, spec: zoo.Spec) -> torch.Tensor:
    """The picture as the model saw pictures when it was trained: float32, shape (3, crop, crop)."""
    mode = InterpolationMode(spec.interpolation)
    image = transforms.center_crop(transforms.resize(image, [spec.resize], interpolation=mode), [spec.crop])
    pixels = transforms.to_dtype(transforms.pil_to_tensor(image), torch.float32, scale=True)
    prepared: torch.Tensor = transforms.normalize(pixels, list(spec.mean), list(spec.std))
    return prepared


# exercise 3.3
def rank(probabilities: torch.Tensor, labels: Sequence[str], top_k: int, threshold: float = 0.0) -> list[Prediction]:
    """The `top_k` likeliest classes of one picture, likeliest first, none below `threshold`.

    `probabilities` has shape (classes,), in the order of `labels`; a `top_k` beyond the last class gives them all.
    """
    best = probabilities.topk(min(top_k, len(labels)))
    pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True)
    return [Prediction(class_name=labels[index], confidence=value) for value, index in pairs if value >= threshold]


# exercise 3.4
@dataclass(frozen=True)
class Output:
    """What the model says of a batch: probabilities (pictures, classes), embeddings (pictures, features), float32."""

    probabilities: torch.Tensor
    embeddings: torch.Tensor


def pick_device(wanted: str = "auto") -> torch.device:
    """The device by name; "auto" is the first accelerator there is, else the CPU."""
    if wanted != "auto":
        return torch.device(wanted)
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def pick_precision(wanted: str, device: torch.device) -> str:
    """The precision by name; "auto" is bfloat16 where the device has instructions for it."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    able = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return "bf16" if able.get("avx512_bf16") or able.get("amx_bf16") else "fp32"


class Classifier:
    """A model on its device.

    `name` as in `zoo.SPECS`, or None for the best that is to be had; `device` "auto", "cpu", "cuda" …; `precision`
    "fp32", "bf16", or "auto": bfloat16 where the device computes faster in it.
    """

    def __init__(self, name: str | None = None, device: str = "auto", precision: str = "auto") -> None:
        model = zoo.load(zoo.choose(name))
        self.spec, self.name, self.labels = model.spec, model.spec.name, model.labels
        self.device = pick_device(device)
        self.precision = pick_precision(precision, self.device)
        self._backbone = model.backbone.to(self.device).to(memory_format=torch.channels_last)
        self._head = model.head.to(self.device)

    @torch.inference_mode()
    def run(self, images: Sequence[Image.Image]) -> Output:
        """Classify a batch of RGB pictures; the result is on the CPU, so the device has finished."""
        batch = torch.stack([preprocess(image, self.spec) for image in images])
        batch = batch.to(self.device, memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            embeddings = self._backbone(batch)
            logits = self._head(embeddings)
        return Output(logits.float().softmax(dim=1).cpu(), embeddings.float().cpu())


# exercise 3.5
@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load the model once, and run it once, before the first request is let in."""
    settings = app.state.settings
    classifier = Classifier(settings.model, settings.device, settings.precision)
    classifier.run([Image.new("RGB", (224, 224))])
    app.state.classifier = classifier
    yield


# exercise 3.6
router = APIRouter(lifespan=lifespan)


@router.post("/predict")
def predict(request: Request, file: UploadFile, top_k: TopK = 5, threshold: Threshold = 0.0) -> PredictionResponse:
    """Classify an uploaded picture. The time is that of the model, from pixels to probabilities."""
    classifier = request.app.state.classifier
    try:
        image = open_image(file.file.read())
    except ValueError as error:
        raise HTTPException(415, f"{file.filename}: {error}. Send a JPEG or PNG.") from error
    started = time.perf_counter()
    output = classifier.run([image])
    seconds = time.perf_counter() - started
    return PredictionResponse(
        predictions=rank(output.probabilities[0], classifier.labels, top_k, threshold),
        model=classifier.name,
        inference_time_ms=round(seconds * 1000, 2),
    )


# exercise 3.7
def verify_predictions(body: dict[str, Any], top_k: int) -> None:
    """Raise AssertionError, with the reason, unless `body` is an answer that /predict may give for this `top_k`."""
    try:
        answer = PredictionResponse.model_validate(body, strict=True)
    except ValidationError as error:
        raise AssertionError(f"not what the schema promises: {error}") from error
    assert answer.model, "no model named"
    names = [prediction.class_name for prediction in answer.predictions]
    values = [prediction.confidence for prediction in answer.predictions]
    assert len(names) <= top_k, f"{len(names)} predictions, asked for {top_k}"
    assert values == sorted(values, reverse=True), f"not from likeliest to least likely: {values}"
    assert sum(values) <= 1.001, f"probabilities that sum to {sum(values):.3f}"
    assert len(set(names)) == len(names), f"a class twice: {names}"
    assert not any(re.fullmatch(r"class_\d+", name) for name in names), f"numbers in place of names: {names}"
