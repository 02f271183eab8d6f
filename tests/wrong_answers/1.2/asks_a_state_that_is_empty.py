# earns: app.state.classifier is not there yet
from typing import Any

from fastapi import Request


@router.get("/health")
def health(request: Request) -> dict[str, Any]:
    classifier = request.app.state.classifier
    return {"status": "healthy", "model_loaded": True, "model": classifier.name, "device": str(classifier.device)}
