# earns: no warm-up: run the classifier on one blank picture
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from PIL import Image


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings = app.state.settings
    app.state.classifier = Classifier(settings.model, settings.device, settings.precision)
    yield
