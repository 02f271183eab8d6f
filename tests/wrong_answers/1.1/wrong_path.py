# earns: no function is routed
from typing import Any

from fastapi import APIRouter

router = APIRouter()


@router.get("/root")
def root() -> dict[str, Any]:
    return {
        "service": "labserve",
        "version": "1.0.0",
        "endpoints": {"health": "/health", "models": "/models", "docs": "/docs"},
    }
