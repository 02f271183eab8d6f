"""What crosses between a check and the student's code: JSON, and a few tagged values.

    bytes            {"$bytes": base64}
    a picture        {"$image": base64 of a PNG, or of a TIFF where its mode has no place in a PNG}
    an array         {"$array": base64 of float32, "shape": [...], "dtype": "torch.float32"}
    nan, inf, -inf   {"$float": "nan"}
    an awkward dict  {"$dict": [[key, value], ...]}: one with keys that are not texts, or that look like a tag
    anything else    {"$ref": number, "type": ..., "repr": ...}: it stays where it is, and can be named again

Pydantic models and dataclasses cross as dicts, URLs as texts, enumerations as their values, numpy's numbers as
Python's; tuples and sets arrive as lists.
"""

import base64
import dataclasses
import enum
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_FORMATS = dict.fromkeys(("1", "L", "LA", "P", "I;16", "RGB", "RGBA"), "PNG")  # by a picture's mode: no pixel changes
_FORMATS |= dict.fromkeys(("I", "F", "PA", "CMYK", "YCbCr", "LAB"), "TIFF")


@dataclass(frozen=True)
class Ref:
    """An object that stayed on the student's side."""

    number: int
    type: str
    repr: str


@dataclass(frozen=True)
class Array:
    """A tensor or array that crossed: its values as float32, and what it was."""

    values: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"
    dtype: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def __str__(self) -> str:
        return f"an array of {self.dtype}, shape {self.shape}"


def dumps(value: Any, keep: Callable[[Any], int] | None = None) -> str:
    """Encode. `keep` stores an object that cannot cross and gives its number; without it such an object is an error."""
    return json.dumps(_plain(value, keep), allow_nan=False)


def loads(text: str, fetch: Callable[[int], Any] | None = None) -> Any:
    """Decode. `fetch` turns a number back into the object that was kept; without it a reference stays a `Ref`."""
    return _rich(json.loads(text), fetch)


def _plain(value: Any, keep: Callable[[Any], int] | None) -> Any:
    match value:
        case enum.Enum():
            return _plain(value.value, keep)
        case None | bool():
            return value
        case int():
            return int(value)
        case float():  # numpy's float64 is one
            return float(value) if math.isfinite(value) else {"$float": str(float(value))}
        case str():
            return str.__str__(value)
        case bytes() | bytearray() | memoryview():
            return {"$bytes": base64.b64encode(value).decode()}
        case list() | tuple() | set() | frozenset():
            return [_plain(item, keep) for item in value]
        case dict():
            return _mapping({_key(key): _plain(item, keep) for key, item in value.items()})
        case Ref():
            return {"$ref": value.number, "type": value.type, "repr": value.repr}
        case Array():
            return _array(value.values, value.dtype)
    if _is(value, "pydantic", "BaseModel"):
        return _plain(value.model_dump(), keep)
    if _is(value, "pydantic", "AnyUrl") or _is(value, "pydantic.networks", "_BaseUrl"):
        return str(value)
    if _is(value, "PIL.Image", "Image") and value.mode in _FORMATS:
        return {"$image": _encode(value)}
    if _is(value, "torch", "Tensor"):
        return _array(value.detach().cpu().float().numpy(), str(value.dtype))
    if _is(value, "numpy", "generic"):
        return _plain(value.item(), keep)
    if _is(value, "numpy", "ndarray"):
        return _array(value, str(value.dtype)) if value.dtype.kind in "biuf" else _plain(value.tolist(), keep)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)}, keep)
    if keep is None:
        raise TypeError(f"a {type(value).__name__} cannot cross: JSON, bytes, pictures and arrays can")
    return {"$ref": keep(value), "type": type(value).__name__, "repr": repr(value)[:300]}


def _mapping(items: dict[Any, Any]) -> dict[str, Any]:
    if all(isinstance(key, str) and not key.startswith("$") for key in items):
        return items
    return {"$dict": [[_plain(key, None), item] for key, item in items.items()]}


def _key(key: Any) -> Any:
    """A key as it arrives: numbers and None stay what they are, anything else is told as a text."""
    key = key.value if isinstance(key, enum.Enum) else key
    return key if isinstance(key, str | int | float | None) else str(key)


def _rich(value: Any, fetch: Callable[[int], Any] | None) -> Any:
    match value:
        case {"$bytes": data}:
            return base64.b64decode(data)
        case {"$image": data}:
            return _picture(data)
        case {"$array": data, "shape": shape, "dtype": dtype}:
            import numpy as np

            values = np.frombuffer(base64.b64decode(data), dtype=np.float32).reshape(shape)
            return Array(values, dtype) if fetch is None else _native(values, dtype)
        case {"$float": text}:
            return float(text)
        case {"$dict": items}:
            return {_rich(key, fetch): _rich(item, fetch) for key, item in items}
        case {"$ref": number}:
            return fetch(number) if fetch else Ref(number, value.get("type", ""), value.get("repr", ""))
        case dict():
            return {key: _rich(item, fetch) for key, item in value.items()}
        case list():
            return [_rich(item, fetch) for item in value]
    return value


def _is(value: Any, module: str, name: str) -> bool:
    """isinstance, without importing a module that is not loaded: then nothing can be an instance of its classes."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(value, kind)


def _array(values: Any, dtype: str) -> dict[str, Any]:
    import numpy as np

    data = np.asarray(values, dtype=np.float32)
    return {"$array": base64.b64encode(data.tobytes()).decode(), "shape": list(data.shape), "dtype": dtype}


def _native(values: "np.ndarray[Any, Any]", dtype: str) -> Any:
    if not dtype.startswith("torch."):
        return values.astype(dtype)
    import torch

    return torch.from_numpy(values.copy()).to(getattr(torch, dtype.removeprefix("torch.")))


def _encode(picture: Any) -> str:
    import io

    buffer = io.BytesIO()
    picture.save(buffer, format=_FORMATS[picture.mode], compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode()


def _picture(data: str) -> Any:
    import io

    from PIL import Image

    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    picture.load()
    return picture
