# earns: a constant, or a value read once
from typing import Any

from fastapi import Request


@router.get("/health")
def health(request: Request) -> dict[str, Any]:
    classifier = getattr(request.app.state, "classifier", None)
    if classifier is None:
        return {"status": "healthy", "model_loaded": False, "model": None, "device": None}
    return {"status": "healthy", "model_loaded": True, "model": classifier.name, "device": "any device"}
