# earns: an @ after the host is a letter like any other
from typing import Annotated

from pydantic import AfterValidator, Field, HttpUrl

from labserve.zoo import SPECS


def check_model_name(name: str) -> str:
    if name not in SPECS:
        raise ValueError(f"known models: {', '.join(SPECS)}")
    return name


def check_image_url(url: str) -> str:
    if "@" in url:
        raise ValueError("no user name or password, please")
    return str(HttpUrl(url))


ModelName = Annotated[str, AfterValidator(check_model_name), Field(description="Which model")]
ImageUrl = Annotated[str, AfterValidator(check_image_url), Field(description="Where the picture is")]
