# earns: perf_counter counts seconds
import time

from fastapi import APIRouter, HTTPException, Request, UploadFile

from .validation import PredictionResponse, Threshold, TopK

router = APIRouter(lifespan=lifespan)


@router.post("/predict")
def predict(request: Request, file: UploadFile, top_k: TopK = 5, threshold: Threshold = 0.0) -> PredictionResponse:
    classifier = request.app.state.classifier
    try:
        image = open_image(file.file.read())
    except ValueError as error:
        raise HTTPException(415, f"{file.filename}: not a picture. Send a JPEG or PNG.") from error
    started = time.perf_counter()
    output = classifier.run([image])
    milliseconds = time.perf_counter() - started
    return PredictionResponse(
        predictions=rank(output.probabilities[0], classifier.labels, top_k, threshold),
        model=classifier.name,
        inference_time_ms=milliseconds,
    )
