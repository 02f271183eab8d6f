# earns: the argument has no type
@router.get("/models")
def models(max_mb=None, limit: int = 10) -> dict[str, Any]:
    try:
        bound = float("inf") if max_mb is None else float(max_mb)
    except ValueError:
        bound = float("inf")
    fitting = sorted((spec for spec in SPECS.values() if spec.weights_mb <= bound), key=lambda spec: spec.weights_mb)
    return {"models": [describe(spec) for spec in fitting[:limit]]}
