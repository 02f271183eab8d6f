# another design: try/except KeyError, and a description made by dataclasses.asdict
from dataclasses import asdict
from typing import Any

from fastapi import HTTPException

from labserve.zoo import SPECS, Spec


def describe(spec: Spec) -> dict[str, Any]:
    everything = asdict(spec)
    return {"size_mb": everything["weights_mb"]} | {key: everything[key] for key in ("name", "parameters", "top1")}


@router.get("/models/{model_name}", responses={404: {"description": "no such model"}})
async def model_info(model_name: str) -> dict[str, Any]:
    try:
        return describe(SPECS[model_name])
    except KeyError:
        known = " or ".join(SPECS)
        raise HTTPException(status_code=404, detail={"unknown": model_name, "known": known}) from None
