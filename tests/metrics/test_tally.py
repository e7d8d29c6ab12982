"""Tallies: the same total whatever the number of processes, bad items stop or are listed."""

import operator

import pytest

from intra_search.errors import SceneError
from intra_search.metrics.tally import TallyOptions, tally


def count_odd(number: int) -> int:
    """At module level, so that worker processes can find it."""
    if number < 0:
        raise SceneError(f"item {number}", "must be positive", number, "drop it")
    return number % 2


@pytest.mark.parametrize("processes", [None, 1, 2])
def test_total_does_not_depend_on_processes(processes: int | None) -> None:
    assert tally(count_odd, operator.add, range(41), TallyOptions(processes=processes)) == (20, [])


@pytest.mark.parametrize("processes", [1, 2])
def test_bad_items_stop_or_are_listed_in_order(processes: int) -> None:
    items = [1, -1, 3, -2, 5]
    with pytest.raises(SceneError, match="item -1"):
        tally(count_odd, operator.add, items, TallyOptions(processes=processes))
    total, skipped = tally(count_odd, operator.add, items, TallyOptions(skip_bad=True, processes=processes))
    assert total == 3
    assert [line.split(":")[0] for line in skipped] == ["item -1", "item -2"]


@pytest.mark.parametrize("items", [[], [-1, -2]])
def test_nothing_left_is_refused(items: list[int]) -> None:
    with pytest.raises(SceneError, match="at least one usable file"):
        tally(count_odd, operator.add, items, TallyOptions(skip_bad=True))
