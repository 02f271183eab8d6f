# earns: "service" with a text
from typing import Any

from fastapi import APIRouter

router = APIRouter()


@router.get("/")
def root() -> dict[str, Any]:
    return {"message": "Hello World"}
