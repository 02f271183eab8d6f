# another design: an asynchronous route with a subclass for its body, the names by subtracting sets
from typing import Annotated, Any

from fastapi import Body
from pydantic import BaseModel


class DryRun(BaseModel):
    request: dict[str, Any]
    filled_in: set[str] = set()


@router.post("/validate", response_model=DryRun, status_code=200)
async def validate(body: Annotated[PredictionRequest, Body(description="The request to try")]):
    everything = body.model_dump()
    return {"request": everything, "filled_in": everything.keys() - body.model_fields_set}
