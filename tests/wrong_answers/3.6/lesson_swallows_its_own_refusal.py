# earns: file.content_type is a claim of the client
import time

from fastapi import APIRouter, HTTPException, Request, UploadFile

from .validation import PredictionResponse, Threshold, TopK

router = APIRouter(lifespan=lifespan)


@router.post("/predict")
def predict(request: Request, file: UploadFile, top_k: TopK = 5, threshold: Threshold = 0.0) -> PredictionResponse:
    classifier = request.app.state.classifier
    try:
        if file.content_type not in ["image/jpeg", "image/png", "image/jpg"]:
            raise HTTPException(status_code=415, detail=f"Invalid file type: {file.content_type}")
        image = open_image(file.file.read())
        started = time.perf_counter()
        output = classifier.run([image])
        milliseconds = (time.perf_counter() - started) * 1000
        return PredictionResponse(
            predictions=rank(output.probabilities[0], classifier.labels, top_k, threshold),
            model=classifier.name,
            inference_time_ms=milliseconds,
        )
    except Exception as e:
        raise HTTPException(status_code=500, detail=str(e))
