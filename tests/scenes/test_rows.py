"""Rows behave as a list of their tuples would."""

import pickle

import pytest

from intra_search.scenes.rows import Rows
from intra_search.scenes.source import SceneName

ROWS = Rows(SceneName, ["a", "b", "c"], ["x", "x", "y"])
PLAIN = [SceneName("a", "x"), SceneName("b", "x"), SceneName("c", "y")]


def test_as_a_list() -> None:
    assert list(ROWS) == PLAIN
    assert (len(ROWS), ROWS[1], ROWS[-1], list(ROWS[1:])) == (3, PLAIN[1], PLAIN[-1], PLAIN[1:])
    assert PLAIN[2] in ROWS
    assert ROWS.column(1) == ["x", "x", "y"]
    with pytest.raises(IndexError):
        ROWS[3]


def test_after_pickling() -> None:
    assert list(pickle.loads(pickle.dumps(ROWS))) == PLAIN
