"""Random numbers of one scene. All are drawn before the first pixel, so that none depends on the picture's size."""

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Chance:
    """Random numbers from one PCG64 stream, drawn in blocks, because NumPy takes a microsecond for a single one."""

    def __init__(self, seed: int, index: int) -> None:
        self._generator = np.random.default_rng(np.random.SeedSequence([seed, index]))
        self._block: list[float] = []

    def share(self) -> float:
        """Uniform in [0, 1)."""
        if not self._block:
            self._block = self._generator.random(256).tolist()
        return self._block.pop()

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.share()

    def happens(self, probability: float) -> bool:
        return self.share() < probability

    def integer(self, low: int, high: int) -> int:
        """Uniform over low..high, both included."""
        return low + int((high - low + 1) * self.share())

    def choice(self, options: Sequence[T]) -> T:
        return options[int(len(options) * self.share())]

    def normal(self, mean: float, deviation: float) -> float:
        """Nearly normal: a sum of four uniform numbers, so within 3.5 deviations (no road leaves the picture)."""
        total = self.share() + self.share() + self.share() + self.share()
        return mean + deviation * (total - 2.0) * math.sqrt(3.0)
