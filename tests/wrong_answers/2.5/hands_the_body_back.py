# earns: the body is handed back as it came
from typing import Any

from pydantic import BaseModel


class DryRun(BaseModel):
    request: PredictionRequest
    filled_in: list[str]


@router.post("/validate")
def validate(body: dict[str, Any]) -> dict[str, Any]:
    request = PredictionRequest(**body)
    left_out = [name for name in PredictionRequest.model_fields if name not in request.model_fields_set]
    return {"request": body, "filled_in": left_out}
