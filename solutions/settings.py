"""What can be set from outside: environment variables that start with LABSERVE_."""

from typing import Literal

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """The service's settings. `model` None means the best model that is to be had (see `labserve.zoo.choose`)."""

    model_config = SettingsConfigDict(env_prefix="LABSERVE_")

    model: str | None = None
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
