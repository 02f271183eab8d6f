# earns: an empty text is a str like any other
from pydantic import BaseModel, Field


class Prediction(BaseModel):
    class_name: str
    confidence: float = Field(ge=0.0, le=1.0)


class PredictionResponse(BaseModel):
    predictions: list[Prediction]
    model: str
    inference_time_ms: float = Field(ge=0.0, allow_inf_nan=False)
