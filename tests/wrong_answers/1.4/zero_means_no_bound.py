# earns: which takes 0 for no bound
@router.get("/models")
def models(max_mb: float | None = None, limit: int = 10) -> dict[str, Any]:
    fitting = [spec for spec in SPECS.values() if not max_mb or spec.weights_mb <= max_mb]
    fitting.sort(key=lambda spec: spec.weights_mb)
    return {"models": [describe(spec) for spec in fitting[:limit]]}
