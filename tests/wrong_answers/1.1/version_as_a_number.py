# earns: "version" with a text
from typing import Any

from fastapi import APIRouter

router = APIRouter()


@router.get("/")
def root() -> dict[str, Any]:
    return {
        "service": "labserve",
        "version": 1.0,
        "endpoints": {"health": "/health", "models": "/models", "docs": "/docs"},
    }
