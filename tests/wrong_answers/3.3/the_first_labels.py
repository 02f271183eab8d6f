# earns: labels[index] is the name that belongs to a value
from collections.abc import Sequence

import torch

from .validation import Prediction


def rank(probabilities: torch.Tensor, labels: Sequence[str], top_k: int, threshold: float = 0.0) -> list[Prediction]:
    values = sorted(probabilities.tolist(), reverse=True)[:top_k]
    return [Prediction(class_name=name, confidence=value) for name, value in zip(labels, values) if value >= threshold]
