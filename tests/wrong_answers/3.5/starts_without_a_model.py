# earns: or the error is caught and forgotten
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from PIL import Image


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings = app.state.settings
    try:
        classifier = Classifier(settings.model, settings.device, settings.precision)
        classifier.run([Image.new("RGB", (224, 224))])
        app.state.classifier = classifier
    except Exception as error:
        print("No model:", error)
    yield
