# another design: a class with __aenter__ and __aexit__, which loads in a thread and lets go at the end
import asyncio

from fastapi import FastAPI
from PIL import Image


class lifespan:
    """Loads the classifier when it is entered, and takes it off the app when it is left."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    async def __aenter__(self) -> None:
        self.app.state.classifier = await asyncio.to_thread(self._load)

    async def __aexit__(self, *error: object) -> None:
        self.app.state.classifier = None

    def _load(self) -> Classifier:
        wanted = self.app.state.settings
        classifier = Classifier(wanted.model, device=wanted.device, precision=wanted.precision)
        classifier.run([Image.new("RGB", (640, 480), "grey")] * 2)
        return classifier
