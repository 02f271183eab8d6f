"""What can be set from outside: environment variables that start with LABSERVE_."""

from ipaddress import ip_address
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _listed(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _address(text: str) -> str:
    """The pair in its usual spelling; no names, as they may lead elsewhere tomorrow."""
    address, _, port = text.rpartition(":")
    try:
        return f"{ip_address(address.strip('[]'))}:{int(port)}"
    except ValueError:
        raise ValueError("write address:port, as in 127.0.0.1:8081") from None


class Settings(BaseSettings):
    """The service's settings. `model` None means the best model that is to be had (see `labserve.zoo.choose`)."""

    model_config = SettingsConfigDict(env_prefix="LABSERVE_")

    model: str | None = None
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"

    max_body_bytes: int = Field(default=10 * 2**20, gt=0, description="Largest body of a request, or picture fetched")
    max_pixels: int = Field(
        default=50_000_000, gt=0, le=89_478_485, description="Largest picture that is decoded; Pillow itself minds more"
    )
    max_aspect: float = Field(default=20.0, ge=1, description="Longest side of a picture over its shortest, at most")
    url_allowed: Annotated[frozenset[Annotated[str, AfterValidator(_address)]], NoDecode, BeforeValidator(_listed)] = (
        Field(
            default=frozenset(),
            description="What /predict/url may reach though not public: address:port, separated by commas",
        )
    )
    fetch_seconds: float = Field(default=5.0, gt=0, le=60, description="Longest time that fetching a picture may take")

    workers: int | None = Field(
        default=None, ge=1, description="Threads that run the model; by default one a core or GPU"
    )
    max_batch: int = Field(default=4, ge=1, description="Pictures in one run of the model, at most")
    max_waiting: int = Field(default=64, ge=1, description="Pictures that may wait for the model")
    max_in_flight: int = Field(default=32, ge=1, description="POST requests that are let in at the same time")
    patience: float = Field(
        default=1.0, ge=0, le=60, description="Seconds a request waits to be let in before it is refused"
    )

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
