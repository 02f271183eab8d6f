# another design: a pydantic model, and try/except in place of getattr
from fastapi import Request
from pydantic import BaseModel


class _Health(BaseModel):
    status: str = "healthy"
    model_loaded: bool = False
    model: str | None = None
    device: str | None = None


@router.get("/health", response_model=_Health)
async def health(request: Request):
    try:
        classifier = request.app.state.classifier
        return _Health(model_loaded=True, model=classifier.name, device=f"{classifier.device}")
    except AttributeError:
        return _Health()
