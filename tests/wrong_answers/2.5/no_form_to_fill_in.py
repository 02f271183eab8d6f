# earns: a dict has no fields to show
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from pydantic import BaseModel


class DryRun(BaseModel):
    request: PredictionRequest
    filled_in: list[str]


@router.post("/validate")
def validate(body: dict[str, Any]) -> DryRun:
    try:
        request = PredictionRequest(**body)
    except ValidationError as refused:
        raise RequestValidationError(refused.errors(include_context=False)) from refused
    return DryRun(request=request, filled_in=[name for name in PredictionRequest.model_fields if name not in body])
