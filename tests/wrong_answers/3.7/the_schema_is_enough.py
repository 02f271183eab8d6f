# earns: nothing in the test asks for the likeliest class last
from typing import Any

from pydantic import ValidationError

from .validation import PredictionResponse


def verify_predictions(body: dict[str, Any], top_k: int) -> None:
    try:
        PredictionResponse.model_validate(body, strict=True)
    except ValidationError as error:
        raise AssertionError(str(error)) from error
