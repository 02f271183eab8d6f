# earns: a list of paths instead of a dict
from typing import Any

from fastapi import APIRouter

router = APIRouter()


@router.get("/")
def root() -> dict[str, Any]:
    return {"service": "labserve", "version": "1.0.0", "endpoints": ["/health", "/models", "/docs"]}
