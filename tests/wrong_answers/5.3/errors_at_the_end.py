# earns: each result stands at the place of its upload
import time
from collections.abc import Sequence
from typing import Any
from .errors import Classified, decode
from .inference import Classifier
from .settings import Settings


def run_batch(classifier: Classifier, limits: Settings, batch: Sequence[bytes]) -> list[Classified | Exception]:
    """Decode the uploads and classify those that are pictures in one run; for each its result, or its error."""
    images: list[Any] = []
    errors: list[Any] = []
    for data in batch:
        try:
            images.append(decode(data, limits))
        except Exception as error:
            errors.append(error)
    results: list[Any] = []
    if images:
        started = time.perf_counter()
        output = classifier.run(images)
        seconds = time.perf_counter() - started
        results = [Classified(output.probabilities[row], output.embeddings[row], seconds) for row in range(len(images))]
    return results + errors
