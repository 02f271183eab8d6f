# earns: the ValueError of open_image is not caught
import time

from fastapi import APIRouter, HTTPException, Request, UploadFile

from .validation import PredictionResponse, Threshold, TopK

router = APIRouter(lifespan=lifespan)


@router.post("/predict")
def predict(request: Request, file: UploadFile, top_k: TopK = 5, threshold: Threshold = 0.0) -> PredictionResponse:
    classifier = request.app.state.classifier
    image = open_image(file.file.read())
    started = time.perf_counter()
    output = classifier.run([image])
    milliseconds = (time.perf_counter() - started) * 1000
    return PredictionResponse(
        predictions=rank(output.probabilities[0], classifier.labels, top_k, threshold),
        model=classifier.name,
        inference_time_ms=milliseconds,
    )
