"""The quickest run counts; how often a step runs depends on the time it takes."""

import itertools
from collections.abc import Iterator

import pytest
import torch

from intra_search.networks import timing
from intra_search.networks.timing import quickest


class Clock:
    """Time passes only in steps: each run of `step` takes the next number of seconds."""

    def __init__(self, seconds: Iterator[float]) -> None:
        self.now, self.runs, self._seconds = 0.0, 0, seconds

    def perf_counter(self) -> float:
        return self.now

    def step(self) -> None:
        self.runs += 1
        self.now += next(self._seconds)


@pytest.mark.parametrize(
    ("seconds", "budget", "max_runs", "quickest_run", "runs"),
    [
        ([4.0], 1.0, None, 4.0, 1),
        ([0.5, 0.25, 0.5], 1.0, None, 0.25, 3),
        ([0.5, 0.25], 1.0, 2, 0.25, 2),
        ([1.0], 1.0, 5, 1.0, 1),
    ],
)
def test_runs_repeat_until_the_budget_is_spent(
    monkeypatch: pytest.MonkeyPatch,
    seconds: list[float],
    budget: float,
    max_runs: int | None,
    quickest_run: float,
    runs: int,
) -> None:
    clock = Clock(itertools.chain(seconds))
    monkeypatch.setattr(timing, "time", clock)
    assert quickest(clock.step, torch.device("cpu"), budget=budget, max_runs=max_runs) == quickest_run
    assert clock.runs == runs
