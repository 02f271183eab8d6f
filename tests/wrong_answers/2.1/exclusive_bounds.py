# earns: gt and lt leave the bound itself out
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

TopK = Annotated[int, Field(gt=1, lt=10, description="How many predictions")]
Threshold = Annotated[float, Field(gt=0.0, lt=1.0, description="The least confidence")]

router = APIRouter()


@router.get("/validate")
def validate_query(top_k: TopK = 5, threshold: Threshold = 0.0) -> dict[str, Any]:
    return {"top_k": top_k, "threshold": threshold}
