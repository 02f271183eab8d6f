# earns: another exception passes through
from typing import Annotated

from pydantic import AfterValidator, Field, HttpUrl

from labserve.zoo import SPECS


def check_model_name(name: str) -> str:
    return SPECS[name].name


def check_image_url(url: str) -> str:
    parsed = HttpUrl(url)
    if parsed.username or parsed.password:
        raise ValueError("no user name or password, please")
    return str(parsed)


ModelName = Annotated[str, AfterValidator(check_model_name), Field(description="Which model")]
ImageUrl = Annotated[str, AfterValidator(check_image_url), Field(description="Where the picture is")]
