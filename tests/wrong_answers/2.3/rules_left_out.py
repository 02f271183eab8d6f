# earns: the rule is written a second time here, or not at all
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

    image_url: str
    model_name: str = "resnet18"
    top_k: int = 5
    threshold: float = 0.0
