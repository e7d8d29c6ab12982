"""Base of every group of settings."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of every group of settings: frozen, strict about types, unknown keys refused, numbers finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
