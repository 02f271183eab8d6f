# earns: settings.precision is not passed on
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from PIL import Image


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings = app.state.settings
    app.state.classifier = Classifier(settings.model, settings.device)
    app.state.classifier.run([Image.new("RGB", (224, 224))])
    yield
