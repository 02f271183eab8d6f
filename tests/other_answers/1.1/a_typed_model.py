# another design: a pydantic model, an async function, more doors
from fastapi import APIRouter
from pydantic import BaseModel

router = APIRouter()


class _About(BaseModel):
    service: str = "cats as a service"
    version: str = "0.1"
    endpoints: dict[str, str]


async def root() -> _About:
    doors = {name: f"/{name}" for name in ("health", "models", "docs", "predict")}
    return _About(endpoints=doors)


router.add_api_route("/", root, methods=["GET"])
