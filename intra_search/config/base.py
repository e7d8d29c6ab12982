"""Base of every group of settings."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

LEAST, MOST = 1e-6, 1e6
"""Range of positive factors: what lies outside is a slip, and leaves float32 when it is multiplied with another."""


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


def _zero_or_normal(value: float) -> float:
    if 0 < value < LEAST:
        raise ValueError(f"must be 0 or at least {LEAST:g}, got {value:g}")
    return value


Positive = Annotated[float, Field(ge=LEAST, le=MOST)]
"""A factor that cannot be 0, such as a class weight or a temperature."""
Weight = Annotated[float, Field(ge=0, le=MOST), AfterValidator(_zero_or_normal)]
"""A factor that may be 0, which switches off what it weighs."""
