"""Chapter 9: the finished service, put together. Run it with `uvicorn solutions.app:app`."""

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from . import concurrency, errors, hello, inference, metrics, validation
from .settings import Settings


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service with these settings, by default those of the environment."""
    app = FastAPIOffline(
        title="labserve",
        version="1.0.0",
        description="Image classification with pre-trained models.",
        lifespan=inference.lifespan,  # its plain /predict is for one client at a time: that of `errors` is served
    )
    app.state.settings = settings or Settings()
    for module in (hello, validation, errors, concurrency, metrics):
        app.include_router(module.router)
    for layer in (errors, concurrency, metrics):  # the later one lies outside
        layer.install(app)
    return app


app = create_app()
