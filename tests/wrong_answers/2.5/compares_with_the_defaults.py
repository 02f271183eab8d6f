# earns: a client may well send the default itself
from pydantic import BaseModel


class DryRun(BaseModel):
    request: PredictionRequest
    filled_in: list[str]


@router.post("/validate")
def validate(request: PredictionRequest) -> DryRun:
    fields = PredictionRequest.model_fields
    return DryRun(
        request=request, filled_in=[name for name in fields if getattr(request, name) == fields[name].default]
    )
