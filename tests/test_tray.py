"""The tray: each upload is what it says it is, as Pillow sees it. No bomb is decoded."""

import io
import struct
import warnings
import zipfile
import zlib

import pytest
from PIL import ExifTags, Image, ImageOps, ImageSequence, UnidentifiedImageError

from labserve import samples, tray, zoo

TRAY = {upload.name: upload for upload in tray.tray()}
SOUND = [upload for upload in TRAY.values() if upload.expected == 200]
CATS = {"tiger cat", "tabby", "Egyptian cat"}


def picture(name: str) -> Image.Image:
    return Image.open(io.BytesIO(TRAY[name].data))


def header(data: bytes) -> tuple[int, int, int]:
    """Width, height and bits per channel, as a PNG's first chunk declares them."""
    assert data[:16] == b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
    width, height, bits = struct.unpack(">IIB", data[16:25])
    return width, height, bits


def unpacked_size(png: bytes) -> int:
    """How many bytes the one IDAT chunk of ``png`` inflates to, never holding more than a MiB of them."""
    (length,) = struct.unpack(">I", png[33:37])
    assert png[37:41] == b"IDAT"
    inflate, size, rest = zlib.decompressobj(), 0, png[41 : 41 + length]
    while not inflate.eof:
        size += len(inflate.decompress(rest, 2**20))
        rest = inflate.unconsumed_tail
    return size


def test_the_whole_tray() -> None:
    assert len(TRAY) == len(tray.tray()) == 18
    for upload in TRAY.values():
        assert upload.data == upload.data, f"{upload.name} differs from one making to the next"
        assert upload.expected in {200, 413, 415, 422}
        assert upload.why.endswith(".") and "\n" not in upload.why
        assert (upload.shows in samples.SAMPLES) == (upload.expected == 200)


def test_only_the_oversized_one_is_large() -> None:
    sizes = {upload.name: len(upload.data) for upload in TRAY.values()}
    assert sizes.pop("oversized") == tray.OVERSIZED > 10 * 2**20
    assert max(sizes.values()) < 300_000


@pytest.mark.parametrize("name", ["control", "wrong content type"])
def test_the_plain_cat(name: str) -> None:
    assert TRAY[name].data == samples.path("cat").read_bytes()
    assert (TRAY[name].content_type == "image/jpeg") == (name == "control")


@pytest.mark.parametrize("name", ["truncated by ten bytes", "truncated in half"])
def test_truncated_opens_but_does_not_decode(name: str) -> None:
    with picture(name) as opened, pytest.raises(OSError, match="truncated"):
        opened.load()


@pytest.mark.parametrize("name", ["empty", "renamed text", "SVG"])
def test_no_picture_at_all(name: str) -> None:
    with pytest.raises(UnidentifiedImageError):
        picture(name)


def test_16_bit_grey_is_the_cat_in_finer_steps_and_clips() -> None:
    deep, grey = picture("16-bit grey"), picture("control").convert("L")
    assert (deep.format, deep.mode, deep.size) == ("PNG", "I;16", grey.size)
    assert header(TRAY["16-bit grey"].data)[2] == 16
    assert deep.getextrema() == tuple(257 * value for value in grey.getextrema())
    naive = deep.convert("RGB").convert("L").histogram()
    assert naive[255] > 0.99 * sum(naive)


def test_cmyk() -> None:
    assert (picture("CMYK").format, picture("CMYK").mode) == ("JPEG", "CMYK")


def test_palette() -> None:
    assert (picture("palette").format, picture("palette").mode) == ("PNG", "P")


def test_hidden_colours() -> None:
    both = picture("hidden colours")
    assert (both.format, both.mode) == ("PNG", "RGBA")
    alpha = both.getchannel("A").histogram()
    assert alpha[0] > 0.8 * sum(alpha) and alpha[0] + alpha[255] == sum(alpha)


def test_animated() -> None:
    animation = picture("animated")
    assert (animation.format, animation.n_frames) == ("GIF", 3)
    first, second, third = (frame.convert("RGB").tobytes() for frame in ImageSequence.Iterator(animation))
    assert len({first, second, third}) == 3


def test_exif_rotated() -> None:
    lying = picture("EXIF-rotated")
    assert lying.getexif()[ExifTags.Base.Orientation] == 6
    assert lying.height > lying.width
    with Image.open(samples.path("tripod")) as upright:
        assert ImageOps.exif_transpose(lying).size == upright.size


def test_decompression_bomb_is_refused_by_pillow_and_complete() -> None:
    data = TRAY["decompression bomb"].data
    width, height, bits = header(data)
    assert width * height > 10**9
    assert unpacked_size(data) == height * (1 + width * bits // 8)
    with pytest.raises(Image.DecompressionBombError):
        picture("decompression bomb")


def test_smaller_bomb_passes_pillow_with_a_warning() -> None:
    with pytest.warns(Image.DecompressionBombWarning):
        bomb = picture("bomb below Pillow's limit")
    assert (bomb.size, bomb.mode) == ((13_300, 13_300), "1")
    assert unpacked_size(TRAY["bomb below Pillow's limit"].data) == 13_300 * (1 + 1663)


def test_thin_line_is_tiny_and_decodes() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        line = picture("thin line")
        line.load()
    assert line.size == (1, 20_000)
    assert len(TRAY["thin line"].data) < 200


def test_oversized_is_a_sound_picture() -> None:
    with picture("oversized") as padded:
        padded.load()


def test_svg_is_svg() -> None:
    from xml.etree import ElementTree

    assert ElementTree.fromstring(TRAY["SVG"].data).tag == "{http://www.w3.org/2000/svg}svg"


def test_jpeg_and_zip_at_once() -> None:
    data = TRAY["JPEG and zip at once"].data
    assert picture("JPEG and zip at once").format == "JPEG"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None and archive.namelist() == ["page.html"]


# What the bundled model says: rightly prepared, each sound picture is named as the sample it shows;
# prepared naively, some are not.


@pytest.fixture(scope="module")
def bundled() -> zoo.Model:
    return zoo.load("efficientnet_lite0")


def label(model: zoo.Model, rgb: Image.Image) -> str:
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
        return model.labels[int(model.network(prepare(rgb)[None]).argmax())]


def upright_rgb(upload: tray.Hostile) -> Image.Image:
    """The picture as a person sees it, on white."""
    seen = ImageOps.exif_transpose(Image.open(io.BytesIO(upload.data)))
    if seen.mode == "I;16":
        return seen.convert("I").point(lambda value: value * (1 / 257)).convert("L").convert("RGB")
    if seen.mode != "RGBA":
        return seen.convert("RGB")
    page = Image.new("RGBA", seen.size, "white")
    page.alpha_composite(seen)
    return page.convert("RGB")


def right(upload: tray.Hostile, answer: str) -> bool:
    return answer in CATS if upload.shows == "cat" else answer == samples.SAMPLES[upload.shows]


@pytest.mark.parametrize("upload", SOUND, ids=lambda upload: upload.name)
def test_sound_pictures_show_what_they_say(upload: tray.Hostile, bundled: zoo.Model) -> None:
    assert right(upload, label(bundled, upright_rgb(upload)))


@pytest.mark.parametrize("name", ["16-bit grey", "hidden colours", "EXIF-rotated"])
def test_naively_read_the_label_is_wrong(name: str, bundled: zoo.Model) -> None:
    assert not right(TRAY[name], label(bundled, picture(name).convert("RGB")))
