# earns: print shows it in the log, and the client gets null
from typing import Any

from fastapi import APIRouter

router = APIRouter()


@router.get("/")
def root() -> None:
    print({"service": "labserve", "version": "1.0.0", "endpoints": {"health": "/health"}})
