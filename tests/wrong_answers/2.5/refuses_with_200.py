# earns: a refusal that comes with 200 is taken for a yes
from typing import Any

from pydantic import ValidationError

from pydantic import BaseModel


class DryRun(BaseModel):
    request: PredictionRequest
    filled_in: list[str]


@router.post("/validate")
def validate(body: dict[str, Any]) -> dict[str, Any]:
    try:
        request = PredictionRequest(**body)
    except ValidationError as refused:
        return {"valid": False, "detail": refused.errors(include_context=False)}
    left_out = [name for name in PredictionRequest.model_fields if name not in request.model_fields_set]
    return {"request": request, "filled_in": left_out}
