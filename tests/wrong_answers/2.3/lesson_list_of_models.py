# earns: since check_model_name('efficientnet_lite0') takes it
from typing import Literal

from pydantic import BaseModel, ConfigDict


class PredictionRequest(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"image_url": "https://example.com/cat.jpg", "model_name": "resnet18", "top_k": 3, "threshold": 0.1}
            ]
        },
    )

    image_url: ImageUrl
    model_name: Literal["resnet18", "resnet50", "mobilenet_v2"] = "resnet18"
    top_k: TopK = 5
    threshold: Threshold = 0.0
