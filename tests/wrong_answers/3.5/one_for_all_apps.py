# earns: or one classifier in a global variable serves both apps
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from PIL import Image


_loaded = {}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings = app.state.settings
    if "classifier" not in _loaded:
        _loaded["classifier"] = Classifier(settings.model, settings.device, settings.precision)
        _loaded["classifier"].run([Image.new("RGB", (224, 224))])
    app.state.classifier = _loaded["classifier"]
    yield
