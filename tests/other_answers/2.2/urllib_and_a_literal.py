# another design: the standard library reads the URL, and a type adapter of a Literal the name
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import AfterValidator, Field, TypeAdapter

from labserve.zoo import SPECS

_names = TypeAdapter(Literal[tuple(SPECS)])


def check_model_name(name: str) -> str:
    return _names.validate_python(name)


def check_image_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\s\\]", url):
        raise ValueError("not the URL of a picture")
    if parts.port is not None and parts.port > 65535:
        raise ValueError("no such port")
    if "@" in parts.netloc:
        raise ValueError("a user name or a password in the URL")
    return urlunsplit(parts._replace(netloc=parts.netloc.lower()))


ModelName = Annotated[str, AfterValidator(check_model_name), Field(description="Which model")]
ImageUrl = Annotated[str, AfterValidator(check_image_url), Field(description="Where the picture is")]
