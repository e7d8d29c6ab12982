"""Base of every group of settings."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

LEAST_WEIGHT = 1e-8


def _check_weight(value: float) -> float:
    if 0 < value < LEAST_WEIGHT:
        raise ValueError(f"must be 0 or at least {LEAST_WEIGHT:g}, which float32 still tells from 0 in a product")
    return value


Weight = Annotated[float, Field(ge=0, le=1e6), AfterValidator(_check_weight)]
"""A factor on a loss or a part of one; 0 leaves it out."""
Temperature = Annotated[float, Field(ge=0.01, le=1000)]


class Settings(BaseModel):
    """Base of every group of settings: frozen, strict about types, unknown keys refused, numbers finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class BrokenRuleError(ValueError):
    """A rule between settings, raised by a validator: which setting breaks it, what was found, and the remedy."""

    def __init__(self, path: str, rule: str, found: object, remedy: str) -> None:
        super().__init__(f"{path}: {rule}, found {found}; {remedy}")
        self.path = path
        self.rule = rule
        self.found = found
        self.remedy = remedy
