# earns: GET /validate?threshold=1.01
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

TopK = Annotated[int, Field(ge=1, le=10, description="How many predictions")]
Threshold = Annotated[float, Field(ge=0.0, le=100.0, description="The least confidence, in percent")]

router = APIRouter()


@router.get("/validate")
def validate_query(top_k: TopK = 5, threshold: Threshold = 0.0) -> dict[str, Any]:
    return {"top_k": top_k, "threshold": threshold}
