# another design: the bounds from annotated_types and fastapi.Query, the route async, the answer a model
from typing import Annotated

from annotated_types import Interval
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

TopK = Annotated[int, Interval(ge=1, le=10), Field(description="At most this many")]
Threshold = Annotated[float, Query(ge=0, le=1, allow_inf_nan=False, description="At least this sure")]
router = APIRouter()


class _Options(BaseModel):
    top_k: TopK = 5
    threshold: Threshold = 0.0


@router.get("/validate")
async def validate_query(top_k: TopK = 5, threshold: Threshold = 0.0) -> _Options:
    return _Options(top_k=top_k, threshold=threshold)
