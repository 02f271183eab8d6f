"""The tray: uploads that a naive picture service answers with a crash, a stall or a wrong label.

Code makes them all, from the sample pictures, the same bytes at every run. The worst bomb takes gigabytes
from whoever decodes it, and a megabyte here.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from labserve import samples

if TYPE_CHECKING:
    from PIL.Image import Image

JPEG, PNG, GIF = "image/jpeg", "image/png", "image/gif"

#: Bytes of the oversized upload: above any sensible limit for one picture, such as 10 MiB.
OVERSIZED = 11 * 2**20


@dataclass(frozen=True)
class Hostile:
    """One upload, and the right answer to it.

    ``filename`` and ``content_type`` are what the client claims. ``expected`` is the status a good service
    answers: 200 where the picture is sound, 413 where it has too many bytes or pixels, 415 where the bytes
    are no picture of a kind that is served, 422 where they ought to be but cannot be decoded, or where the
    picture is absurdly long and thin. ``why`` says in a sentence what goes wrong in a naive service.
    ``shows`` names the sample picture that a person sees in a sound one, "" in the others: its label, or for
    the cat that of some cat, should come first.
    """

    name: str
    make: Callable[[], bytes]
    filename: str
    content_type: str
    expected: int
    why: str
    shows: str = ""

    @property
    def data(self) -> bytes:
        """The bytes of the upload, made anew each time, so that a tray holds next to nothing."""
        return self.make()


def tray() -> list[Hostile]:
    """Every upload, the sound control first; names are unique. The bytes are made only when asked for."""
    return [
        Hostile(
            "control", _cat, "cat.jpg", JPEG, 200,
            "Nothing goes wrong here: a service that refuses all the others must still answer this one.",
            "cat",
        ),
        Hostile(
            "truncated by ten bytes", lambda: _cat()[:-10], "cat.jpg", JPEG, 422,
            "Image.open reads the header and is content; decoding fails later, past the check, as a 500.",
        ),
        Hostile(
            "truncated in half", lambda: _cat()[: len(_cat()) // 2], "cat.jpg", JPEG, 422,
            "With LOAD_TRUNCATED_IMAGES set, the missing half is answered as if it were grey.",
        ),
        Hostile(
            "empty", bytes, "cat.jpg", JPEG, 422,
            "A form sent before a file was chosen: Image.open raises what nobody catches, a 500.",
        ),
        Hostile(
            "renamed text", lambda: b"No picture, whatever its name says.\n" * 20, "cat.jpg", JPEG, 415,
            "Name and header both say JPEG, so a check of either lets it through to the decoder.",
        ),
        Hostile(
            "wrong content type", _cat, "notes.txt", "text/plain", 200,
            "The bytes are a sound JPEG; a service that believes the header refuses a good picture.",
            "cat",
        ),
        Hostile(
            "16-bit grey", _grey16, "cat.png", PNG, 200,
            'convert("RGB") clips 65,536 greys at 255: nearly all turn white, and the label is a guess.',
            "cat",
        ),
        Hostile(
            "CMYK", lambda: _save(_picture("cat").convert("CMYK"), "JPEG"), "cat.jpg", JPEG, 200,
            "Four channels of ink reach a network that takes three of light, a 500.",
            "cat",
        ),
        Hostile(
            "hidden colours", _hidden_colours, "cat.png", PNG, 200,
            'convert("RGB") drops the transparency: a cat to the eye, it is answered as the tripod beneath.',
            "cat",
        ),
        Hostile(
            "palette", lambda: _save(_picture("cat").quantize(64), "PNG"), "cat.png", PNG, 200,
            "Taken as an array, it gives the numbers of its colours instead of the colours.",
            "cat",
        ),
        Hostile(
            "animated", _animated, "cat.gif", GIF, 200,
            "Three pictures in one file: a service that loops over frames lets a client choose its work.",
            "cat",
        ),
        Hostile(
            "EXIF-rotated", _rotated, "tripod.jpg", JPEG, 200,
            "Phones store it on its side and say so in EXIF: unread, the photographer seems to hold a rifle.",
            "tripod",
        ),
        Hostile(
            "decompression bomb", partial(_blank_png, 2**15, 2**15), "bomb.png", PNG, 413,
            "A gigapixel, 3 GiB as RGB, in 130 KB: the header tells the size, if it is read before decoding.",
        ),
        Hostile(
            "bomb below Pillow's limit", partial(_blank_png, 13_300, 13_300), "plan.png", PNG, 413,
            "Pillow refuses above 179 megapixels and only warns at these 177: 22 KB that take 530 MB as RGB.",
        ),
        Hostile(
            "thin line", partial(_blank_png, 1, 20_000), "line.png", PNG, 422,
            "Few bytes, few pixels, but Resize(256) keeps its shape: 256 by 5,120,000 pixels, 4 GB as RGB.",
        ),
        Hostile(
            "oversized", lambda: _cat().ljust(OVERSIZED, b"\0"), "cat.jpg", JPEG, 413,
            "A sound JPEG, padded: read before it is measured, a body of any size is held in memory.",
        ),
        Hostile(
            "SVG", _svg, "cat.svg", "image/svg+xml", 415,
            "A picture by its type, yet a program that can run script and read files; Pillow cannot open it.",
        ),
        Hostile(
            "JPEG and zip at once", _polyglot, "cat.jpg", JPEG, 200,
            "A sound picture that carries a page of script as a zip: harm comes if it is stored and served.",
            "cat",
        ),
    ]  # fmt: skip


def _cat() -> bytes:
    return samples.path("cat").read_bytes()


def _picture(name: str) -> Image:
    """The sample picture ``name``, in RGB."""
    from PIL import Image

    with Image.open(samples.path(name)) as picture:
        return picture.convert("RGB")


def _save(picture: Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def _grey16() -> bytes:
    """The cat in 16 bits of grey: each of its 8-bit values v as 257 v, so that white stays white."""
    return _save(_picture("cat").convert("L").convert("I").point(lambda v: v * 257).convert("I;16"), "PNG")


def _hidden_colours() -> bytes:
    """A small cat on a transparent ground, whose colours, where nobody sees them, are those of the tripod."""
    from PIL import Image

    picture, cat, left_top = _picture("tripod"), _picture("cat").resize((200, 146)), (50, 170)
    alpha = Image.new("L", picture.size, 0)
    alpha.paste(255, (*left_top, left_top[0] + cat.width, left_top[1] + cat.height))
    picture.paste(cat, left_top)
    picture.putalpha(alpha)
    return _save(picture, "PNG")


def _animated() -> bytes:
    cat, *others = (_picture(name).resize((320, 240)) for name in ("cat", "espresso", "goldfish"))
    return _save(cat, "GIF", save_all=True, append_images=others, duration=200, loop=0)


def _rotated() -> bytes:
    """The tripod stored a quarter turn to the left, its EXIF saying "turn it right": what phones send."""
    from PIL import ExifTags, Image

    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return _save(_picture("tripod").transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=92)


def _blank_png(width: int, height: int) -> bytes:
    """A complete black PNG of one bit a pixel."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = _zeros(height * (1 + (width + 7) // 8))  # each row begins with the number of its filter, also 0
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    )


def _zeros(count: int) -> bytes:
    """What zlib makes of ``count`` zero bytes, got by compressing a MiB of them and repeating the result."""
    mib, rest = zlib.compressobj(9, wbits=-15), zlib.compressobj(9, wbits=-15)
    whole = mib.compress(bytes(2**20)) + mib.flush(zlib.Z_FULL_FLUSH)  # refers to nothing before it
    last = rest.compress(bytes(count % 2**20)) + rest.flush()
    adler32 = struct.pack(">HH", count % 65521, 1)
    return b"\x78\xda" + whole * (count // 2**20) + last + adler32


def _svg() -> bytes:
    return (
        b'<svg xmlns="http://www.w3.org/2000/svg" width="300" height="300">\n'
        b'<script>alert("a picture that runs")</script>\n<circle cx="150" cy="150" r="90"/>\n</svg>\n'
    )


def _polyglot() -> bytes:
    file = io.BytesIO(_cat())
    with zipfile.ZipFile(file, "a") as archive:
        page = zipfile.ZipInfo("page.html")  # its date is fixed, so the bytes are too
        archive.writestr(page, '<script>alert("from inside a picture")</script>')
    return file.getvalue()
