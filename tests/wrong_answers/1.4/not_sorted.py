# earns: the list is not sorted by weights_mb
@router.get("/models")
def models(max_mb: float | None = None, limit: int = 10) -> dict[str, Any]:
    fitting = [spec for spec in SPECS.values() if max_mb is None or spec.weights_mb <= max_mb]
    return {"models": [describe(spec) for spec in fitting[:limit]]}
