# another design: a dict of pictures by their place, and an iterator over the rows; the model's error in every place
import time
from collections.abc import Sequence

from PIL import Image

from .errors import Classified, ServiceError, decode
from .inference import Classifier
from .settings import Settings


def run_batch(classifier: Classifier, limits: Settings, batch: Sequence[bytes]) -> list[Classified | Exception]:
    """Decode the uploads and classify those that are pictures in one run; for each its result, or its error."""
    pictures: dict[int, Image.Image] = {}
    answers: dict[int, Classified | Exception] = {}
    for place, data in enumerate(batch):
        try:
            pictures[place] = decode(data, limits)
        except ServiceError as error:
            answers[place] = error
    if pictures:
        begun = time.monotonic()
        try:
            output = classifier.run(list(pictures.values()))
        except RuntimeError as error:
            answers |= dict.fromkeys(pictures, error)
        else:
            took = time.monotonic() - begun
            rows = zip(pictures, output.probabilities, output.embeddings, strict=True)
            answers |= {place: Classified(seen, embedding, took) for place, seen, embedding in rows}
    return [answers[place] for place in range(len(batch))]
