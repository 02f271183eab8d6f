"""The sample pictures: what is on disk, what is said of it, and what the bundled model says."""

from pathlib import Path

import pytest
from PIL import Image

from labserve import samples, zoo
from labserve.errors import LabserveError

CATS = {"tiger cat", "tabby", "Egyptian cat", "Persian cat", "Siamese cat"}


@pytest.fixture(scope="module")
def bundled() -> zoo.Model:
    return zoo.load("efficientnet_lite0")


def best(model: zoo.Model, picture: Image.Image, count: int) -> list[str]:
    """The first ``count`` labels of an RGB picture, prepared as the model's spec says."""
    import torch
    from torchvision.transforms import v2

    spec = model.spec
    prepare = v2.Compose(
        [
            v2.Resize(spec.resize, interpolation=v2.InterpolationMode(spec.interpolation)),
            v2.CenterCrop(spec.crop),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(spec.mean, spec.std),
        ]
    )
    with torch.inference_mode():
        logits = model.network(prepare(picture)[None])[0]
    return [model.labels[index] for index in logits.topk(count).indices.tolist()]


@pytest.mark.parametrize("name", samples.names())
def test_bundled_model_names_it_rightly(name: str, bundled: zoo.Model) -> None:
    assert samples.SAMPLES[name] in bundled.labels
    with Image.open(samples.path(name)) as picture:
        assert best(bundled, picture.convert("RGB"), 1) == [samples.SAMPLES[name]]


def test_the_three_best_labels_of_the_cat_are_cats(bundled: zoo.Model) -> None:
    with Image.open(samples.path("cat")) as picture:
        assert set(best(bundled, picture, 3)) <= CATS


@pytest.mark.parametrize("name", samples.names())
def test_small_plain_jpegs(name: str) -> None:
    path = samples.path(name)
    assert path.stat().st_size < 120_000
    with Image.open(path) as picture:
        assert picture.format == "JPEG"
        assert picture.mode == ("L" if name == "tripod" else "RGB")
        assert 320 <= picture.width <= 500 and 1.1 < picture.width / picture.height < 1.5
        assert not picture.getexif()


def test_both_spellings_and_unknown_names() -> None:
    assert samples.names()[0] == "cat"
    assert samples.path("cat") == samples.path("cat.jpg") == Path(samples.__file__).parent / "cat.jpg"
    for unknown in ("dog", "cat.png", "../tray", ""):
        with pytest.raises(LabserveError, match="there are: cat, espresso, goldfish"):
            samples.path(unknown)


def test_every_file_is_listed_and_has_a_source() -> None:
    folder = Path(samples.__file__).parent
    assert {path.stem for path in folder.glob("*.jpg")} == set(samples.names())
    sources = (folder / "SOURCES.md").read_text(encoding="utf-8")
    for name in samples.names():
        (row,) = [line for line in sources.splitlines() if line.startswith(f"| `{name}.jpg` |")]
        assert "CC0" in row or "public domain" in row
