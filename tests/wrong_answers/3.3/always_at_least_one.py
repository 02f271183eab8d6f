# earns: or at least one class is always given
from collections.abc import Sequence

import torch

from .validation import Prediction


def rank(probabilities: torch.Tensor, labels: Sequence[str], top_k: int, threshold: float = 0.0) -> list[Prediction]:
    best = probabilities.topk(min(top_k, len(labels)))
    found = [
        Prediction(class_name=labels[index], confidence=value)
        for value, index in zip(best.values.tolist(), best.indices.tolist())
    ]
    return [prediction for prediction in found if prediction.confidence >= threshold] or found[:1]
