# another design: infinity for no bound, Query objects, itertools
import itertools
import math
from typing import Annotated

from fastapi import Query


@router.get("/models")
async def models(
    max_mb: Annotated[float, Query(description="Largest size in megabytes")] = math.inf,
    limit: Annotated[int, Query(ge=0)] = 100,
):
    by_size = sorted((spec.weights_mb, spec.name) for spec in SPECS.values())
    fitting = (describe(SPECS[name]) for size, name in by_size if size <= max_mb)
    return {"models": list(itertools.islice(fitting, limit)), "unit": "MB"}
