# earns: these are the fields that were sent
from pydantic import BaseModel


class DryRun(BaseModel):
    request: PredictionRequest
    filled_in: list[str]


@router.post("/validate")
def validate(request: PredictionRequest) -> DryRun:
    return DryRun(request=request, filled_in=sorted(request.model_fields_set))
