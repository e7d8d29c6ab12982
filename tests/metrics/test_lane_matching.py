"""Matching of lanes: hand values, brute force over all matchings, and the official tool's tolerance."""

from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray

from intra_search.metrics.lane_matching import TIGHT, match_lanes


def _best_sum(table: NDArray[np.float64]) -> float:
    wide = table if table.shape[0] <= table.shape[1] else table.T
    rows = range(wide.shape[0])
    orders = permutations(range(wide.shape[1]), len(rows))
    return max(float(sum(wide[row, order[row]] for row in rows)) for order in orders)


def test_hand_value() -> None:
    # greedy would take 0.9 and leave 0.1; the best sum is 0.8 + 0.7
    assert match_lanes([[0.9, 0.8], [0.7, 0.1]]) == [(0, 1), (1, 0)]


def test_higher_than_wide_gives_rows_first() -> None:
    assert match_lanes([[0.1], [0.9], [0.3]]) == [(1, 0)]


@pytest.mark.parametrize("table", [[], [[]]])
def test_nothing_to_match(table: list[list[float]]) -> None:
    assert match_lanes(table) == []


@pytest.mark.parametrize("seed", range(40))
def test_sum_is_the_best_up_to_the_tolerance(seed: int) -> None:
    draw = np.random.default_rng(seed)
    table = draw.random((draw.integers(1, 6), draw.integers(1, 6))) * (draw.random() < 0.8)
    pairs = match_lanes(table.tolist())
    assert len(pairs) == min(table.shape)
    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
    total = sum(table[row, column] for row, column in pairs)
    assert _best_sum(table) - TIGHT * len(pairs) <= total <= _best_sum(table) + 1e-12


def test_a_slack_below_a_hundredth_counts_as_tight() -> None:
    assert match_lanes([[0.5, 0.505]]) == [(0, 0)]  # column 0 comes first, 0.005 short of the best
    assert match_lanes([[0.5, 0.52]]) == [(0, 1)]


def test_rows_without_any_comparable_pair_end_the_matching() -> None:
    nan = float("nan")
    assert match_lanes([[0.9, 0.1], [nan, nan]]) == [(0, 0)]
    assert match_lanes([[nan, nan], [0.9, 0.1]]) == []
    assert match_lanes([[nan, 0.4], [0.9, nan]]) == [(0, 1), (1, 0)]
