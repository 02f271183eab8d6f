# earns: labels[index] is the name that belongs to a value
from collections.abc import Sequence

import torch

from .validation import Prediction


def rank(probabilities: torch.Tensor, labels: Sequence[str], top_k: int, threshold: float = 0.0) -> list[Prediction]:
    best = probabilities.topk(min(top_k, len(labels)))
    pairs = zip(best.values.tolist(), best.indices.tolist())
    return [Prediction(class_name=f"class_{index}", confidence=value) for value, index in pairs if value >= threshold]
