# earns: a bound refuses, it does not correct
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BeforeValidator, Field


def _clamp(value: Any) -> int:
    return min(max(int(value), 1), 10)


TopK = Annotated[int, BeforeValidator(_clamp), Field(ge=1, le=10, description="How many predictions")]
Threshold = Annotated[float, Field(ge=0.0, le=1.0, description="The least confidence")]

router = APIRouter()


@router.get("/validate")
def validate_query(top_k: TopK = 5, threshold: Threshold = 0.0) -> dict[str, Any]:
    return {"top_k": top_k, "threshold": threshold}
