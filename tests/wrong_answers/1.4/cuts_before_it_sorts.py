# earns: the list is cut before it is sorted
@router.get("/models")
def models(max_mb: float | None = None, limit: int = 10) -> dict[str, Any]:
    fitting = [spec for spec in SPECS.values() if max_mb is None or spec.weights_mb <= max_mb][:limit]
    return {"models": [describe(spec) for spec in sorted(fitting, key=lambda spec: spec.weights_mb)]}
