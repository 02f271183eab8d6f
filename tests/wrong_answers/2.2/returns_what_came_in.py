# earns: what was understood is str(HttpUrl(url))
from typing import Annotated

from pydantic import AfterValidator, Field, HttpUrl

from labserve.zoo import SPECS


def check_model_name(name: str) -> str:
    if name not in SPECS:
        raise ValueError(f"known models: {', '.join(SPECS)}")
    return name


def check_image_url(url: str) -> str:
    parsed = HttpUrl(url)
    if parsed.username or parsed.password:
        raise ValueError("no user name or password, please")
    return url


ModelName = Annotated[str, AfterValidator(check_model_name), Field(description="Which model")]
ImageUrl = Annotated[str, AfterValidator(check_image_url), Field(description="Where the picture is")]
