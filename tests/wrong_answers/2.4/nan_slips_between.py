# earns: no comparison with NaN is true
from pydantic import BaseModel, Field, field_validator


class Prediction(BaseModel):
    class_name: str = Field(min_length=1)
    confidence: float

    @field_validator("confidence")
    @classmethod
    def is_a_probability(cls, value: float) -> float:
        if value < 0 or value > 1:
            raise ValueError("a probability is from 0 to 1")
        return value


class PredictionResponse(BaseModel):
    predictions: list[Prediction]
    model: str
    inference_time_ms: float = Field(ge=0.0, allow_inf_nan=False)
