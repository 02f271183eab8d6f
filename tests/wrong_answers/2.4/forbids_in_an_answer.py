# earns: extra='forbid' suits a request
from pydantic import BaseModel, ConfigDict, Field


class Prediction(BaseModel):
    class_name: str = Field(min_length=1)
    confidence: float = Field(ge=0.0, le=1.0)


class PredictionResponse(BaseModel):
    model_config = ConfigDict(extra="forbid")

    predictions: list[Prediction]
    model: str
    inference_time_ms: float = Field(ge=0.0, allow_inf_nan=False)
