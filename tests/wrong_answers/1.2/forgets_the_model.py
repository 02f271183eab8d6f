# earns: "model": null and "device": null
from typing import Any

from fastapi import Request


@router.get("/health")
def health(request: Request) -> dict[str, Any]:
    classifier = getattr(request.app.state, "classifier", None)
    return {"status": "healthy", "model_loaded": bool(classifier)}
