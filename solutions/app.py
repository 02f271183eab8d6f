"""Chapter 9: the finished service, put together. Run it with `uvicorn solutions.app:app`."""

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from . import hello, inference, validation
from .settings import Settings


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service with these settings, by default those of the environment."""
    app = FastAPIOffline(
        title="labserve",
        version="1.0.0",
        description="Image classification with pre-trained models.",
    )
    app.state.settings = settings or Settings()
    for module in (hello, validation, inference):
        app.include_router(module.router)
    return app


app = create_app()
