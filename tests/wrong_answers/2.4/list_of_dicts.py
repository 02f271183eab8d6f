# earns: a list of dicts holds anything
from typing import Any

from pydantic import BaseModel, Field


class Prediction(BaseModel):
    class_name: str = Field(min_length=1)
    confidence: float = Field(ge=0.0, le=1.0)


class PredictionResponse(BaseModel):
    predictions: list[dict[str, Any]]
    model: str
    inference_time_ms: float = Field(ge=0.0, allow_inf_nan=False)
