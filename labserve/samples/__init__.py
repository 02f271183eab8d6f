"""Eight small photographs, free of copyright, that the bundled model names rightly (see ``SOURCES.md``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from labserve.errors import LabserveError

#: Name of each picture, and the ImageNet label that ``efficientnet_lite0`` puts first for it.
#: All are colour photographs but ``tripod``, which is greyscale (one channel, Pillow's mode "L").
SAMPLES: Mapping[str, str] = MappingProxyType(
    {
        "cat": "tiger cat",
        "espresso": "espresso",
        "goldfish": "goldfish",
        "rocket": "missile",  # ImageNet has no class for a peaceful rocket: this is the nearest it knows
        "frying_pan": "frying pan",
        "screwdriver": "screwdriver",
        "dam": "dam",
        "tripod": "tripod",
    }
)


def names() -> list[str]:
    """The names of the pictures, the cat first."""
    return list(SAMPLES)


def path(name: str) -> Path:
    """Where the picture called ``name`` lies on disk; "cat" and "cat.jpg" mean the same JPEG file.

    Raises LabserveError, listing the names there are, for any other name.
    """
    stem = name.removesuffix(".jpg")
    if stem not in SAMPLES:
        raise LabserveError(f"no sample picture called {name!r}; there are: {', '.join(SAMPLES)}")
    return Path(__file__).with_name(f"{stem}.jpg")
