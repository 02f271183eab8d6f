# another design: settings as class arguments, and an example beside each field
from typing import Annotated

from pydantic import BaseModel, Field


class PredictionRequest(BaseModel, extra="forbid", frozen=True):
    image_url: Annotated[ImageUrl, Field(examples=["https://example.com/cat.jpg"])]
    model_name: ModelName = Field("resnet18", examples=["resnet50"])
    top_k: TopK = Field(5, examples=[3])
    threshold: Threshold = Field(0.0, examples=[0.25])
