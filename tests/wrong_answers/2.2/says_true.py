# earns: a rule returns the value that it has checked, not True
from typing import Annotated

from pydantic import AfterValidator, Field, HttpUrl

from labserve.zoo import SPECS


def check_model_name(name: str) -> str:
    return name in SPECS


def check_image_url(url: str) -> str:
    parsed = HttpUrl(url)
    if parsed.username or parsed.password:
        raise ValueError("no user name or password, please")
    return str(parsed)


ModelName = Annotated[str, AfterValidator(check_model_name), Field(description="Which model")]
ImageUrl = Annotated[str, AfterValidator(check_image_url), Field(description="Where the picture is")]
