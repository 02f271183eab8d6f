# earns: no softmax;
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from labserve import zoo


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
        return Output(logits.float().cpu(), embeddings.float().cpu())
