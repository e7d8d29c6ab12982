"""Halving decided by hand, and its law: at every rung the best 1/factor go on."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intra_search.config.objectives import Objectives
from intra_search.config.search import HalvingSettings
from intra_search.search.stopping.halving import num_better, places, rungs

OBJECTIVES = Objectives.of_metrics(["val/miou"])


def survives(value: float, others: list[float], factor: int) -> bool:
    """Whether a trial goes on past a rung, given the values that the others had there."""
    scores = [{"val/miou": other} for other in others]
    return num_better(OBJECTIVES, {"val/miou": value}, scores) < places(len(others) + 1, factor)


@pytest.mark.parametrize(
    ("min_epochs", "factor", "epochs", "expected"),
    [
        (1, 3, 24, [1, 3, 9]),
        (1, 3, 27, [1, 3, 9]),  # the last epoch is no rung: there is nothing left to save
        (1, 3, 28, [1, 3, 9, 27]),
        (2, 2, 16, [2, 4, 8]),
        (5, 4, 5, []),
        (1, 2, 1, []),
    ],
)
def test_rungs_by_hand(min_epochs: int, factor: int, epochs: int, expected: list[int]) -> None:
    assert rungs(HalvingSettings(min_epochs=min_epochs, factor=factor), epochs) == expected
    assert rungs(HalvingSettings(enabled=False, min_epochs=min_epochs, factor=factor), epochs) == []


@pytest.mark.parametrize(
    ("value", "others", "factor", "goes_on"),
    [
        (0.1, [], 3, True),  # the first at a rung has no rival
        (0.1, [0.2], 3, False),  # 2 there, ceil(2 / 3) = 1 goes on
        (0.2, [0.1], 3, True),
        (0.1, [0.2, 0.3], 2, False),  # third of 3, ceil(3 / 2) = 2 go on
        (0.25, [0.2, 0.3], 2, True),
        (0.2, [0.2, 0.2, 0.2], 4, True),  # equals survive together
        (0.2, [0.3, 0.1, 0.1], 3, True),  # second of 4, ceil(4 / 3) = 2
        (0.2, [0.3, 0.3, 0.1], 3, False),
    ],
)
def test_decisions_by_hand(value: float, others: list[float], factor: int, goes_on: bool) -> None:
    assert survives(value, others, factor) is goes_on


VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@given(VALUES, st.integers(2, 5))
def test_at_least_the_best_share_survives_and_no_more_when_values_differ(values: list[float], factor: int) -> None:
    decisions = [survives(value, values[:i] + values[i + 1 :], factor) for i, value in enumerate(values)]
    allowed = math.ceil(len(values) / factor)
    assert sum(decisions) >= allowed
    if len(set(values)) == len(values):
        assert sum(decisions) == allowed
    going = [value for value, goes_on in zip(values, decisions, strict=True) if goes_on]
    stopped = [value for value, goes_on in zip(values, decisions, strict=True) if not goes_on]
    assert min(going) > max(stopped, default=-1)


@given(VALUES, st.integers(2, 5))
def test_one_after_another_the_best_so_far_always_goes_on(values: list[float], factor: int) -> None:
    for number, value in enumerate(values):
        if value == max(values[: number + 1]):
            assert survives(value, values[:number], factor)
