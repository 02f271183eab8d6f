# earns: no comparison with NaN is true
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import AfterValidator, Field


def _between(value: float) -> float:
    if value < 0 or value > 1:
        raise ValueError("the threshold must be from 0 to 1")
    return value


TopK = Annotated[int, Field(ge=1, le=10, description="How many predictions")]
Threshold = Annotated[float, AfterValidator(_between), Field(description="The least confidence")]

router = APIRouter()


@router.get("/validate")
def validate_query(top_k: TopK = 5, threshold: Threshold = 0.0) -> dict[str, Any]:
    return {"top_k": top_k, "threshold": threshold}
