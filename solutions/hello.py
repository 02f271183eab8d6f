"""Chapter 1: the first routes. What the service is, whether it is well, which models it knows, what was uploaded."""

import hashlib
from typing import Any

from fastapi import APIRouter, HTTPException, Request, UploadFile

from labserve.zoo import SPECS, Spec

# exercise 1.1
router = APIRouter()


@router.get("/")
def root() -> dict[str, Any]:
    """Say what this service is and where its doors are."""
    return {
        "service": "labserve",
        "version": "1.0.0",
        "endpoints": {"health": "/health", "models": "/models", "docs": "/docs"},
    }


# exercise 1.2
@router.get("/health")
def health(request: Request) -> dict[str, Any]:
    """Say whether the process lives, and whether a model is loaded, which, and where."""
    classifier = getattr(request.app.state, "classifier", None)
    return {
        "status": "healthy",
        "model_loaded": classifier is not None,
        "model": classifier.name if classifier else None,
        "device": str(classifier.device) if classifier else None,
    }


# exercise 1.3
def describe(spec: Spec) -> dict[str, Any]:
    """What a client may want to know of a model before choosing it."""
    return {"name": spec.name, "parameters": spec.parameters, "size_mb": spec.weights_mb, "top1": spec.top1}


@router.get("/models/{model_name}")
def model_info(model_name: str) -> dict[str, Any]:
    """Describe one model; 404 for a name that is not known."""
    if model_name not in SPECS:
        raise HTTPException(404, f"There is no model {model_name!r}. Known: {', '.join(SPECS)}.")
    return describe(SPECS[model_name])


# exercise 1.4
@router.get("/models")
def models(max_mb: float | None = None, limit: int = 10) -> dict[str, Any]:
    """List the models whose weights take at most `max_mb` megabytes, smallest first, `limit` of them at most."""
    fitting = [spec for spec in SPECS.values() if max_mb is None or spec.weights_mb <= max_mb]
    fitting.sort(key=lambda spec: spec.weights_mb)
    return {"models": [describe(spec) for spec in fitting[:limit]]}


# exercise 1.5
SIGNATURES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF8": "GIF"}


@router.post("/inspect")
def inspect(file: UploadFile) -> dict[str, Any]:
    """Say what was uploaded: what the client claims it is, and what its first bytes show."""
    digest = hashlib.file_digest(file.file, "sha256").hexdigest()  # type: ignore[arg-type]  # BinaryIO lacks readinto
    file.file.seek(0)
    start = file.file.read(8)
    return {
        "filename": file.filename and file.filename.encode(errors="replace").decode(),  # half a character would fail
        "content_type": file.content_type,
        "format": next((name for signature, name in SIGNATURES.items() if start.startswith(signature)), None),
        "size_bytes": file.size,
        "sha256": digest,
    }
