# earns: a run for each picture is what chapter 4 does
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
            image = decode(data, limits)
        except Exception as error:
            results.append(error)
            continue
        started = time.perf_counter()
        output = classifier.run([image])
        results.append(Classified(output.probabilities[0], output.embeddings[0], time.perf_counter() - started))
    return results
