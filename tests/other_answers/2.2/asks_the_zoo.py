# another design: the zoo's own error, which is a ValueError, and a constrained URL type
from typing import Annotated

from pydantic import AfterValidator, AnyUrl, Field, TypeAdapter, UrlConstraints

from labserve import zoo


def check_model_name(name: str) -> str:
    return zoo.spec(name).name


def check_image_url(url: str) -> str:
    web = Annotated[AnyUrl, UrlConstraints(allowed_schemes=["http", "https"], host_required=True)]
    read = TypeAdapter(web).validate_python(url)
    assert read.username is None and read.password is None, "a user name or a password in the URL"
    return str(read)


ModelName = Annotated[str, AfterValidator(check_model_name), Field(description="Which model")]
ImageUrl = Annotated[str, AfterValidator(check_image_url), Field(description="Where the picture is")]
