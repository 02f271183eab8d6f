# earns: the argument has no type
from pydantic import BaseModel


class DryRun(BaseModel):
    request: PredictionRequest
    filled_in: list[str]


@router.post("/validate")
def validate(request) -> DryRun:
    return DryRun(request=request, filled_in=[])
