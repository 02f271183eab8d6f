# earns: gt and lt leave the bound itself out
from pydantic import BaseModel, Field


class Prediction(BaseModel):
    class_name: str = Field(min_length=1)
    confidence: float = Field(gt=0.0, lt=1.0)


class PredictionResponse(BaseModel):
    predictions: list[Prediction]
    model: str
    inference_time_ms: float = Field(ge=0.0, allow_inf_nan=False)
