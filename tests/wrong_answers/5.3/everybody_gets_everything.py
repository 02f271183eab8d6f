# earns: row n of output.probabilities
import time
from collections.abc import Sequence
from typing import Any
from .errors import Classified, decode
from .inference import Classifier
from .settings import Settings


def run_batch(classifier: Classifier, limits: Settings, batch: Sequence[bytes]) -> list[Classified | Exception]:
    """Decode the uploads and classify those that are pictures in one run; for each its result, or its error."""
    results: list[Any] = []
    for data in batch:
        try:
            results.append(decode(data, limits))
        except Exception as error:
            results.append(error)
    good = [index for index, result in enumerate(results) if not isinstance(result, Exception)]
    if good:
        started = time.perf_counter()
        output = classifier.run([results[index] for index in good])
        seconds = time.perf_counter() - started
        for row, index in enumerate(good):
            results[index] = Classified(output.probabilities, output.embeddings, seconds)
    return results
