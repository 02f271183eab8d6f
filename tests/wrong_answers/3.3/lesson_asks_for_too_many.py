# earns: topk raises when it is asked for more classes than there are
from collections.abc import Sequence

import torch

from .validation import Prediction


def rank(probabilities: torch.Tensor, labels: Sequence[str], top_k: int, threshold: float = 0.0) -> list[Prediction]:
    values, indices = torch.topk(probabilities, top_k)
    pairs = zip(values.tolist(), indices.tolist())
    return [Prediction(class_name=labels[index], confidence=value) for value, index in pairs if value >= threshold]
