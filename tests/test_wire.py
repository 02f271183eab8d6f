"""What crosses between a check and an answer, and what it is on the other side."""

import dataclasses
import datetime
import enum
import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import AnyUrl, BaseModel, ConfigDict, HttpUrl, RootModel

from labserve import wire
from labserve.wire import Array, Ref


class Color(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


class Name(enum.StrEnum):
    CAT = "cat"


class Inner(BaseModel):
    url: HttpUrl
    color: Color
    data: bytes = b"\x00\xff"


class Outer(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    inner: list[Inner]
    picture: Any = None


@dataclasses.dataclass
class Point:
    x: float
    label: Name


def cross(value: Any) -> Any:
    text = wire.dumps(value)
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    return wire.loads(text)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(2**70),
        1.5,
        1e-300,
        "",
        "ä\x00\ud800\u2028",
        b"",
        bytes(range(256)),
        [],
        {},
        [[1, [None]], {"a": {"b": b"c"}}],
        math.inf,
        -math.inf,
        {"nested": [math.inf, {"deep": -math.inf}]},
        {1: "a", "1": "b", None: "c", 2.5: "d", -1: [b"e"]},
        {math.inf: 1},
        # dicts that look like a tag
        {"$bytes": "YWJj"},
        {"$image": "x", "other": 1},
        {"$array": "", "shape": [0], "dtype": "float32"},
        {"$ref": 3},
        {"$float": "nan"},
        {"$dict": [["a", 1]]},
        {"$anything": {"$bytes": {"$dict": None}}},
        [{"$ref": 0, "type": "", "repr": ""}],
    ],
    ids=lambda value: type(value).__name__,
)
def test_plain_values_arrive_as_they_were(value: Any) -> None:
    arrived = cross(value)
    assert arrived == value
    assert type(arrived) is type(value)
    if isinstance(value, dict):
        assert [type(key) for key in arrived] == [type(key) for key in value]


def test_nan_arrives() -> None:
    assert math.isnan(cross(math.nan))
    assert math.isnan(cross([np.float64("nan")])[0])


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        ((1, (2, 3)), [1, [2, 3]]),
        ({4}, [4]),
        (frozenset({4}), [4]),
        (bytearray(b"a"), b"a"),
        (memoryview(b"a"), b"a"),
        (Color.RED, "red"),
        (Size.BIG, 3),
        (Name.CAT, "cat"),
        ({Color.RED: Name.CAT, Size.BIG: 1}, {"red": "cat", 3: 1}),
        ({(1, 2): 3}, {"(1, 2)": 3}),
        (np.float64(1.5), 1.5),
        (np.float32(0.5), 0.5),
        (np.float16("inf"), math.inf),
        (np.int64(7), 7),
        (np.uint8(7), 7),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        ({np.int64(1): np.int64(2)}, {"1": 2}),
        (np.array([["a", "b"]]), [["a", "b"]]),
        (np.array([None, 1], dtype=object), [None, 1]),
        (Point(0.5, Name.CAT), {"x": 0.5, "label": "cat"}),
        (AnyUrl("https://example.com/ä"), "https://example.com/%C3%A4"),
        (RootModel[list[int]]([1]), [1]),
        (
            Outer(inner=[Inner(url="https://example.com", color="red")]),
            {
                "inner": [{"url": "https://example.com/", "color": "red", "data": b"\x00\xff"}],
                "picture": None,
            },
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_values_arrive_as_plain_ones(value: Any, arrives: Any) -> None:
    arrived = cross(value)
    assert arrived == arrives
    assert type(arrived) is type(arrives)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (torch.arange(6.0).reshape(2, 3), "torch.float32"),
        (torch.tensor(3), "torch.int64"),
        (torch.zeros(2, 0, 3, dtype=torch.bfloat16), "torch.bfloat16"),
        (torch.tensor([True, False]), "torch.bool"),
        (torch.ones(2, requires_grad=True), "torch.float32"),
        (torch.arange(6.0).reshape(2, 3).T, "torch.float32"),
        (np.arange(6).reshape(3, 2)[::-1], "int64"),
        (np.array(2.5), "float64"),
        (np.array([True]), "bool"),
        (np.array([math.nan, math.inf]), "float64"),
    ],
    ids=str,
)
def test_arrays_arrive_with_shape_type_and_values_and_come_back(value: Any, dtype: str) -> None:
    arrived = cross(value)
    assert isinstance(arrived, Array)
    assert (arrived.dtype, arrived.shape) == (dtype, tuple(value.shape))
    plain = value.detach().float().numpy() if isinstance(value, torch.Tensor) else value.astype(np.float32)
    np.testing.assert_array_equal(arrived.values, plain)
    back = wire.loads(wire.dumps(arrived), fetch=lambda number: number)
    assert type(back) is type(value)
    assert (back.dtype, back.shape) == (value.dtype, value.shape)
    back[...] = 0  # it is theirs to change
    assert str(arrived) == f"an array of {dtype}, shape {tuple(value.shape)}"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I", "I;16", "F", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "PA"])
def test_pictures_arrive_pixel_for_pixel(mode: str) -> None:
    size = {"I": 4, "F": 4, "I;16": 2}.get(mode, len(Image.new(mode, (1, 1)).getbands()))
    if mode in ("1", "PA", "F"):
        picture = Image.new(mode, (3, 2))
    else:
        picture = Image.frombytes(mode, (3, 2), bytes(range(6 * size)))
    if mode == "P":
        picture.putpalette(bytes(range(256)) * 3)
    arrived = cross(picture)
    assert (arrived.mode, arrived.size, arrived.tobytes()) == (mode, (3, 2), picture.tobytes())


def test_models_may_hold_pictures_and_arrays() -> None:
    picture = Image.new("RGB", (2, 2), "red")
    arrived = cross(Outer(inner=[], picture={"a": picture, "b": torch.ones(2)}))
    assert arrived["picture"]["a"].getpixel((0, 0)) == (255, 0, 0)
    assert arrived["picture"]["b"].shape == (2,)


@pytest.mark.parametrize(
    "value",
    [
        object(),
        len,
        Color,
        Inner,
        Point,
        ValueError("x"),
        datetime.date(2026, 1, 1),
        iter([1]),
        1j,
        Image.new("HSV", (1, 1)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_cross_is_kept_or_is_an_error(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot cross"):
        wire.dumps({"a": [value]})
    kept: list[Any] = []

    def keep(value: Any) -> int:
        kept.append(value)
        return len(kept) - 1

    arrived = wire.loads(wire.dumps({"a": [value]}, keep=keep))["a"][0]
    assert arrived == Ref(0, type(value).__name__, repr(value)[:300])
    assert wire.loads(wire.dumps([arrived]), fetch=kept.__getitem__)[0] is value


def test_a_long_repr_is_cut() -> None:
    class Long:
        def __repr__(self) -> str:
            return "x" * 10_000

    assert len(wire.loads(wire.dumps(Long(), keep=lambda _: 0)).repr) == 300


def test_a_list_within_itself_is_an_error() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(RecursionError):
        wire.dumps(value)


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import sys, labserve.wire; print({'numpy', 'torch', 'PIL', 'pydantic'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
