# earns: the classifier was put into a global variable
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from PIL import Image


CLASSIFIER = None


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    global CLASSIFIER
    settings = app.state.settings
    CLASSIFIER = Classifier(settings.model, settings.device, settings.precision)
    CLASSIFIER.run([Image.new("RGB", (224, 224))])
    yield
