# earns: makes the query parameter obligatory
@router.get("/models")
def models(max_mb: float, limit: int = 10) -> dict[str, Any]:
    fitting = [spec for spec in SPECS.values() if spec.weights_mb <= max_mb]
    fitting.sort(key=lambda spec: spec.weights_mb)
    return {"models": [describe(spec) for spec in fitting[:limit]]}
