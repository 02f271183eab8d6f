# earns: or the list is not in falling order
from collections.abc import Sequence

import torch

from .validation import Prediction


def rank(probabilities: torch.Tensor, labels: Sequence[str], top_k: int, threshold: float = 0.0) -> list[Prediction]:
    order = probabilities.argsort()[-top_k:].tolist()
    found = [Prediction(class_name=labels[index], confidence=probabilities[index].item()) for index in order]
    return [prediction for prediction in found if prediction.confidence >= threshold]
