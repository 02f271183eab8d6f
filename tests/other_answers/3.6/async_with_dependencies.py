# another design: async def, the picture and the classifier as dependencies, the model in FastAPI's thread pool
from time import perf_counter_ns
from typing import Annotated

import PIL.Image
from fastapi import APIRouter, Depends, HTTPException, Request, UploadFile, status
from fastapi.concurrency import run_in_threadpool

from .validation import PredictionResponse, Threshold, TopK

router = APIRouter(lifespan=lifespan)


async def picture(file: UploadFile) -> PIL.Image.Image:
    data = await file.read()
    try:
        return await run_in_threadpool(open_image, data)
    except ValueError:
        message = f"'{file.filename}' cannot be read as a picture; please send a JPEG or a PNG"
        raise HTTPException(status.HTTP_415_UNSUPPORTED_MEDIA_TYPE, message) from None


def current(request: Request) -> Classifier:
    return request.app.state.classifier


@router.post("/predict", response_model=PredictionResponse)
async def predict(
    image: Annotated[PIL.Image.Image, Depends(picture)],
    classifier: Annotated[Classifier, Depends(current)],
    top_k: TopK = 5,
    threshold: Threshold = 0,
):
    start = perf_counter_ns()
    output = await run_in_threadpool(classifier.run, [image])
    nanoseconds = perf_counter_ns() - start
    return {
        "predictions": rank(output.probabilities[0], classifier.labels, top_k, threshold),
        "model": classifier.name,
        "inference_time_ms": nanoseconds / 1e6,
    }
