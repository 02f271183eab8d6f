# earns: pydantic 2 takes it from model_config
import warnings

from pydantic import BaseModel

warnings.simplefilter("ignore")


class PredictionRequest(BaseModel):
    image_url: ImageUrl
    model_name: ModelName = "resnet18"
    top_k: TopK = 5
    threshold: Threshold = 0.0

    class Config:
        extra = "forbid"
        schema_extra = {
            "examples": [
                {"image_url": "https://example.com/cat.jpg", "model_name": "resnet18", "top_k": 3, "threshold": 0.1}
            ]
        }
