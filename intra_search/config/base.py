"""Base of every group of settings."""

from pydantic import BaseModel, ConfigDict


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
