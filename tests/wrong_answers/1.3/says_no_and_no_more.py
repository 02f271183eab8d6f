# earns: says what is wrong but not what to do
from typing import Any

from fastapi import HTTPException

from labserve.zoo import SPECS, Spec


def describe(spec: Spec) -> dict[str, Any]:
    return {"name": spec.name, "parameters": spec.parameters, "size_mb": spec.weights_mb, "top1": spec.top1}


@router.get("/models/{model_name}")
def model_info(model_name: str) -> dict[str, Any]:
    if model_name not in SPECS:
        raise HTTPException(404, "Not found")
    return describe(SPECS[model_name])
