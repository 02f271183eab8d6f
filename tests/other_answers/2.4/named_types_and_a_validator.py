# another design: shared types for the numbers, a validator for the time, attributes instead of dicts
import math
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, StringConstraints, field_validator

_Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Prediction(BaseModel):
    model_config = ConfigDict(from_attributes=True, frozen=True)

    class_name: _Name
    confidence: _Probability


class PredictionResponse(BaseModel):
    model: str
    inference_time_ms: NonNegativeFloat
    predictions: list[Prediction]

    @field_validator("inference_time_ms")
    @classmethod
    def _ends(cls, value: float) -> float:
        if not math.isfinite(value):
            raise ValueError("a time must end")
        return value
