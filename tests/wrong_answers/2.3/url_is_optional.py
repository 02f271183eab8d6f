# earns: a field is required when it has no default
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

    image_url: ImageUrl | None = None
    model_name: ModelName = "resnet18"
    top_k: TopK = 5
    threshold: Threshold = 0.0
