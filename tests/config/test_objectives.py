"""Objectives by hand, and the laws of every comparison made with them."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intra_search.config.objectives import Direction, Limit, Objective, Objectives, value_text
from intra_search.config.study import StudySettings

MIOU = Objectives.of(StudySettings())
TWO = Objectives((Objective("val/miou"), Objective("latency_ms", Direction.MIN)), (Limit("latency_ms", most=12.0),))
LACKING = [None, math.nan, math.inf, -math.inf, "0.5", True]


def rows(*values: Any) -> list[dict[str, Any]]:
    return [{"epoch": number, "val/miou": value} for number, value in enumerate(values, 1)]


def test_the_usual_study_has_one_objective_and_no_limit() -> None:
    assert MIOU == Objectives((Objective("val/miou", Direction.MAX),))
    assert MIOU.lead == Objective("val/miou")


@pytest.mark.parametrize("value", LACKING)
def test_what_is_no_finite_number_is_no_score(value: Any) -> None:
    (row,) = rows(value)
    assert MIOU.scores(row) is None
    assert MIOU.lack(row) == f"val/miou is {value} at epoch 1: no number to compare"
    assert MIOU.scores({"epoch": 1}) is None


def test_the_best_epoch_is_the_first_of_equals_and_never_one_without_scores() -> None:
    assert MIOU.best_epoch(rows(0.1, 0.5, 0.5, 0.2)) == 2
    assert MIOU.best_epoch(rows(math.nan, None, 0.1)) == 3
    assert MIOU.ranked_epochs(rows(0.1, math.inf, 0.5, 0.1)) == [3, 1, 4]
    assert MIOU.best_epoch(rows(None, math.nan)) == 1  # there must be one whose checkpoint stays


def test_the_best_until_an_epoch_looks_no_further() -> None:
    history = rows(0.2, math.nan, 0.1, 0.9)
    found = [MIOU.best_until(history, epoch) for epoch in (1, 2, 3, 4)]
    assert found == [{"val/miou": 0.2}] * 3 + [{"val/miou": 0.9}]
    assert MIOU.best_until(rows(None), 1) is None


def test_scores_of_several_objectives_are_of_one_epoch() -> None:
    """The best of each would be 0.6 and 5 ms, which no epoch has."""
    history = [{"epoch": 1, "val/miou": 0.6, "latency_ms": 9.0}, {"epoch": 2, "val/miou": 0.5, "latency_ms": 5.0}]
    assert TWO.best_until(history, 2) == {"val/miou": 0.6, "latency_ms": 9.0}


def test_a_limit_comes_before_every_objective() -> None:
    history = [{"epoch": 1, "val/miou": 0.6, "latency_ms": 12.5}, {"epoch": 2, "val/miou": 0.1, "latency_ms": 12.0}]
    assert TWO.ranked_epochs(history) == [2, 1]
    assert [Limit("x", most=2.0).excess(value) for value in (1.0, 2.0, 2.5)] == [0.0, 0.0, 0.25]
    assert [Limit("x", least=2.0).excess(value) for value in (1.0, 2.0, 2.5)] == [0.5, 0.0, 0.0]
    assert Limit("x", most=3.0, least=2.0).excess(2.5) == 0.0
    assert Limit("x", most=0.0).excess(0.5) == 0.5  # nothing to take a share of


@pytest.mark.parametrize(
    ("own", "other", "dominates"),
    [
        ((0.5, 5.0), (0.4, 5.0), True),
        ((0.5, 5.0), (0.5, 6.0), True),
        ((0.5, 5.0), (0.5, 5.0), False),
        ((0.5, 6.0), (0.4, 5.0), False),
        ((0.4, 5.0), (0.5, 6.0), False),
        ((0.1, 12.0), (0.9, 12.1), True),  # keeps the limit
        ((0.1, 12.1), (0.9, 13.0), True),  # breaks it by less
        ((0.9, 13.0), (0.1, 12.1), False),
    ],
)
def test_domination_by_hand(own: tuple[float, float], other: tuple[float, float], dominates: bool) -> None:
    first, second = ({"val/miou": miou, "latency_ms": ms} for miou, ms in (own, other))
    assert TWO.dominates(first, second) is dominates


def test_a_trial_without_scores_is_worse_than_any_other() -> None:
    scores = {"val/miou": 0.0}
    assert MIOU.dominates(scores, None)
    assert not MIOU.dominates(None, scores)
    assert not MIOU.dominates(None, None)


SCORES = st.fixed_dictionaries({"val/miou": st.floats(0, 1), "latency_ms": st.floats(1, 30)})


@given(SCORES, SCORES, SCORES)
def test_domination_is_a_strict_order_that_sorting_keeps(a: Any, b: Any, c: Any) -> None:
    assert not TWO.dominates(a, a)
    assert not (TWO.dominates(a, b) and TWO.dominates(b, a))
    if TWO.dominates(a, b):
        assert TWO.order(a) < TWO.order(b)
        if TWO.dominates(b, c):
            assert TWO.dominates(a, c)


@given(st.floats(0, 1), st.floats(0, 1))
def test_with_one_objective_domination_is_being_better(a: float, b: float) -> None:
    assert MIOU.dominates({"val/miou": a}, {"val/miou": b}) is (a > b)


def test_smaller_is_better_where_the_objective_says_so() -> None:
    latency = Objective("latency_ms", Direction.MIN)
    assert latency.better(5.0, 6.0)
    assert latency.best([6.0, 5.0, 7.0]) == 5.0
    assert Objective("val/miou").best([0.1, 0.3]) == 0.3
    assert Objective("val/miou").best([]) is None


def test_texts_for_people() -> None:
    assert MIOU.text({"val/miou": 0.23456}) == "val/miou 0.2346"
    assert MIOU.text(None) == "val/miou none"
    assert TWO.text({"val/miou": 0.5, "latency_ms": 5.0}) == "val/miou 0.5000, latency_ms 5.0000"
    assert value_text(None) == "none"
