# earns: str(None) is the text "None"
from typing import Any

from fastapi import Request


@router.get("/health")
def health(request: Request) -> dict[str, Any]:
    classifier = getattr(request.app.state, "classifier", None)
    device = classifier.device if classifier else None
    return {
        "status": "healthy",
        "model_loaded": classifier is not None,
        "model": classifier.name if classifier else None,
        "device": str(device),
    }
