# another design: plain Python, the largest of a heap
import heapq
from collections.abc import Sequence

import torch

from .validation import Prediction


def rank(probabilities: torch.Tensor, labels: Sequence[str], top_k: int, threshold: float = 0.0) -> list[Prediction]:
    likely = [(value, name) for value, name in zip(probabilities.tolist(), labels) if value >= threshold]
    return [Prediction(class_name=name, confidence=value) for value, name in heapq.nlargest(top_k, likely)]
