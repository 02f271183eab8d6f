# earns: > in place of >=
from collections.abc import Sequence

import torch

from .validation import Prediction


def rank(probabilities: torch.Tensor, labels: Sequence[str], top_k: int, threshold: float = 0.0) -> list[Prediction]:
    best = probabilities.topk(min(top_k, len(labels)))
    pairs = zip(best.values.tolist(), best.indices.tolist())
    return [Prediction(class_name=labels[index], confidence=value) for value, index in pairs if value > threshold]
