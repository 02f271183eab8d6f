# earns: has other fields
from pydantic import BaseModel


class DryRun(BaseModel):
    request: PredictionRequest
    filled_in: list[str]


@router.post("/validate")
async def validate(request: PredictionRequest) -> DryRun:
    return {"message": "Processing image", "request": request}
