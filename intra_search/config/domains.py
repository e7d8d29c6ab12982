"""Domains of a search space: which values one searched setting may take, and how a sampler is asked for one.

A domain asks an `Asker` for scalars only (float, int, or one of a few scalars), so that the same walk through a space
serves a random draw, Optuna's `suggest`, and the replay of a known point.
"""

import json
import math
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import Field, model_validator

from intra_search.config.base import Settings

Scalar = str | int | float | bool | None
MAX_VALUES = 1000
"""Of a list of values: each is tried as a setting before a study begins."""


def identity(value: Any) -> str:
    """Text that two values share if they are the same: true, 1 and 1.0 are three, though Python calls them equal."""
    return json.dumps(value, sort_keys=True)


class Asker(Protocol):
    """Answers questions for scalars, each under a name that is unique in the space."""

    def float(self, name: str, low: float, high: float, *, log: bool) -> float: ...

    def int(self, name: str, low: int, high: int, *, log: bool, step: int) -> int: ...

    def choice(self, name: str, options: tuple[Scalar, ...]) -> Scalar: ...


class _Domain(Settings):
    why: str = ""
    """Reason of the range, for the reader of the file."""
    when: dict[str, Any] = Field(default_factory=dict)
    """The setting is searched only where each of these paths has the value, or one of the values, given here."""


class FloatDomain(_Domain):
    """Real numbers in [low, high]; `log` searches their logarithm."""

    kind: Literal["float"]
    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_range(self.low, self.high, self.log)
        return self

    def ask(self, name: str, asker: Asker) -> Any:
        return asker.float(name, self.low, self.high, log=self.log)

    def contains(self, value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    def encode(self, name: str, value: Any) -> dict[str, Scalar]:
        return {name: float(value)}

    def corners(self) -> list[Any]:
        return list(dict.fromkeys([self.low, self.high]))

    def num_values(self) -> float:
        return math.inf if self.low < self.high else 1


class IntDomain(_Domain):
    """Whole numbers low, low + step, ... up to high."""

    kind: Literal["int"]
    low: int
    high: int
    step: int = Field(default=1, ge=1)
    log: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_range(self.low, self.high, self.log)
        if self.log and self.step != 1:
            raise ValueError(f"step must be 1 with log = true, got {self.step}")
        if (self.high - self.low) % self.step:
            raise ValueError(f"high - low must be a multiple of step, got {self.high} - {self.low} and {self.step}")
        return self

    def ask(self, name: str, asker: Asker) -> Any:
        return asker.int(name, self.low, self.high, log=self.log, step=self.step)

    def contains(self, value: Any) -> bool:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole and self.low <= value <= self.high and (value - self.low) % self.step == 0

    def encode(self, name: str, value: Any) -> dict[str, Scalar]:
        return {name: int(value)}

    def corners(self) -> list[Any]:
        # The second value too: a rule such as "odd" shows there.
        return list(dict.fromkeys([self.low, min(self.low + self.step, self.high), self.high]))

    def num_values(self) -> float:
        return (self.high - self.low) // self.step + 1


class ChoiceDomain(_Domain):
    """One of some values; lists (such as `student.blocks`) are values too."""

    kind: Literal["choice"]
    values: Annotated[list[Any], Field(min_length=1, max_length=MAX_VALUES)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        keys = [_choice_key(value) for value in self.values]
        if len(set(keys)) != len(keys):
            raise ValueError(f"values must differ from each other, got {self.values}")
        return self

    def ask(self, name: str, asker: Asker) -> Any:
        keys = tuple(_choice_key(value) for value in self.values)
        return self.values[keys.index(asker.choice(name, keys))]

    def contains(self, value: Any) -> bool:
        return identity(value) in map(identity, self.values)

    def encode(self, name: str, value: Any) -> dict[str, Scalar]:
        return {name: _choice_key(value)}

    def corners(self) -> list[Any]:
        return self.values

    def num_values(self) -> float:
        return len(self.values)


class SubsetDomain(_Domain):
    """A list holding at least `min_size` of some values, in their given order.

    Each value is a yes-or-no question of its own, so a sampler learns what every single value is worth. A value is
    taken without asking when the subset could not reach `min_size` otherwise.
    """

    kind: Literal["subset"]
    values: Annotated[list[Scalar], Field(min_length=1, max_length=MAX_VALUES)]
    min_size: int = Field(default=1, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.values)) != len(self.values):
            raise ValueError(f"values must differ from each other, got {self.values}")
        if self.min_size > len(self.values):
            raise ValueError(f"min_size must be at most {len(self.values)}, got {self.min_size}")
        return self

    def ask(self, name: str, asker: Asker) -> Any:
        taken: list[Scalar] = []
        for position, value in enumerate(self.values):
            left = len(self.values) - position
            forced = self.min_size - len(taken) == left
            if forced or asker.choice(f"{name}[{value}]", (False, True)):
                taken.append(value)
        return taken

    def contains(self, value: Any) -> bool:
        if not isinstance(value, list) or len(value) < self.min_size:
            return False
        taken = set(map(identity, value))
        return identity(value) == identity([known for known in self.values if identity(known) in taken])

    def encode(self, name: str, value: Any) -> dict[str, Scalar]:
        taken = set(map(identity, value))
        return {f"{name}[{known}]": identity(known) in taken for known in self.values}

    def corners(self) -> list[Any]:
        singles = [[value] for value in self.values if self.min_size <= 1]
        return [self.values, self.values[: self.min_size], *singles]

    def num_values(self) -> float:
        size = len(self.values)
        return sum(math.comb(size, taken) for taken in range(self.min_size, size + 1))


Domain = Annotated[FloatDomain | IntDomain | ChoiceDomain | SubsetDomain, Field(discriminator="kind")]


def _choice_key(value: Any) -> Scalar:
    """Optuna's categories are scalars; a list stands for itself as JSON text."""
    return value if isinstance(value, str | int | float | bool) or value is None else json.dumps(value)


def _check_range(low: float, high: float, log: bool) -> None:
    if low > high:
        raise ValueError(f"low must be at most high, got low = {low}, high = {high}")
    if log and low <= 0:
        raise ValueError(f"low must be > 0 with log = true, got {low}")
