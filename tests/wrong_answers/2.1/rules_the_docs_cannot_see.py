# earns: the documentation sees what Field says
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import AfterValidator, Field


def _top_k(value: int) -> int:
    if not 1 <= value <= 10:
        raise ValueError("top_k must be from 1 to 10")
    return value


TopK = Annotated[int, AfterValidator(_top_k), Field(description="How many predictions")]
Threshold = Annotated[float, Field(ge=0.0, le=1.0, description="The least confidence")]

router = APIRouter()


@router.get("/validate")
def validate_query(top_k: TopK = 5, threshold: Threshold = 0.0) -> dict[str, Any]:
    return {"top_k": top_k, "threshold": threshold}
