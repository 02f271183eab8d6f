"""Chapter 2: what a request may say, and what an answer promises. Each rule stands in one place."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, HttpUrl

from labserve.zoo import SPECS

# exercise 2.1
TopK = Annotated[int, Field(ge=1, le=10, description="How many predictions to return, the likeliest first")]
Threshold = Annotated[float, Field(ge=0.0, le=1.0, description="Leave out predictions below this confidence")]

router = APIRouter()


@router.get("/validate")
def validate_query(top_k: TopK = 5, threshold: Threshold = 0.0) -> dict[str, Any]:
    """Answer how a query string would be taken, without making a prediction."""
    return {"top_k": top_k, "threshold": threshold}


# exercise 2.2
def check_model_name(name: str) -> str:
    """The name, if the zoo has a model of that name; else ValueError with the names there are."""
    if name not in SPECS:
        raise ValueError(f"there is no model {name!r}; known: {', '.join(SPECS)}")
    return name


def check_image_url(url: str) -> str:
    """The URL in its normal form; ValueError unless it is http(s), names a host and carries no user or password."""
    parsed = HttpUrl(url)
    if parsed.username or parsed.password:
        raise ValueError("leave user name and password out of the URL")
    return str(parsed)


ModelName = Annotated[
    str,
    AfterValidator(check_model_name),
    Field(description="Which model shall look at the picture", json_schema_extra={"enum": [*SPECS]}),
]
ImageUrl = Annotated[
    str, AfterValidator(check_image_url), Field(description="Where the picture is", json_schema_extra={"format": "uri"})
]


# exercise 2.3
class PredictionRequest(BaseModel):
    """A request to classify the picture at a URL."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "image_url": "https://example.com/cat.jpg",
                    "model_name": "resnet18",
                    "top_k": 3,
                    "threshold": 0.1,
                }
            ]
        },
    )

    image_url: ImageUrl
    model_name: ModelName = "resnet18"
    top_k: TopK = 5
    threshold: Threshold = 0.0


# exercise 2.4
class Prediction(BaseModel):
    """One class the picture may show. `confidence` is a probability."""

    class_name: str = Field(min_length=1)
    confidence: float = Field(ge=0.0, le=1.0)


class PredictionResponse(BaseModel):
    """The answer to a picture: predictions from likeliest to least likely, which model made them, in how long."""

    predictions: list[Prediction]
    model: str
    inference_time_ms: float = Field(ge=0.0, allow_inf_nan=False)


# exercise 2.5
class DryRun(BaseModel):
    """How a request would be taken: in full, and which of its fields we filled in."""

    request: PredictionRequest
    filled_in: list[str]


@router.post("/validate")
def validate(request: PredictionRequest) -> DryRun:
    """Answer how a request would be taken, without making a prediction."""
    filled_in = [name for name in PredictionRequest.model_fields if name not in request.model_fields_set]
    return DryRun(request=request, filled_in=filled_in)


# exercise 2.6
def bad_requests() -> list[dict[str, Any]]:
    """Requests that a good schema refuses, one for each way in which a careless one lets them through."""
    good = {"image_url": "https://example.com/cat.jpg"}
    return [
        {},
        good | {"image_url": "http://"},
        good | {"image_url": "ftp://example.com/cat.jpg"},
        good | {"image_url": "https://user:secret@example.com/cat.jpg"},
        good | {"model_name": "resnet999"},
        good | {"top_k": 0},
        good | {"top_k": 11},
        good | {"threshold": -0.1},
        good | {"threshold": 1.1},
        good | {"topk": 3},
    ]
