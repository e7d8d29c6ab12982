"""What every stopping rule of the table must keep to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intra_search.config.parsing import parse_settings
from intra_search.search.stopping.table import STOPPING_RULES, stopping_rule
from intra_search.store.ledger import HistoryRow, TrialRecord
from intra_search.store.trial_state import TrialState

SETTINGS = parse_settings({"training": {"epochs": 9}})
VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=9)


def rows(values: list[float]) -> list[HistoryRow]:
    return [{"epoch": number, "val/miou": value, "seconds": 1.0} for number, value in enumerate(values, 1)]


def record_of(trial: int, epochs: int, rungs: list[int]) -> TrialRecord:
    return TrialRecord(
        trial=trial, state=TrialState.RUNNING, point={}, origin="point", created="now", epochs=epochs, rungs=rungs
    )


@pytest.mark.parametrize("name", STOPPING_RULES)
@given(st.lists(VALUES, min_size=1, max_size=6))
def test_a_verdict_follows_from_the_histories_and_is_never_taken_back(name: str, curves: list[list[float]]) -> None:
    rule = STOPPING_RULES[name](SETTINGS)
    histories = {trial: rows(values) for trial, values in enumerate(curves)}
    for trial, history in histories.items():
        record = record_of(trial, len(history), [])
        verdict = rule.judge(record, histories)
        assert verdict == STOPPING_RULES[name](SETTINGS).judge(record, histories)
        assert all(rung <= len(history) for rung in verdict.passed)
        if verdict.reason is None:  # judged once: what it has passed stays passed, whoever comes later
            later = {**histories, 99: rows([1.0] * 9)}
            again = rule.judge(record.model_copy(update={"rungs": verdict.passed}), later)
            assert again == verdict


@pytest.mark.parametrize("name", STOPPING_RULES)
def test_a_trial_without_a_rival_goes_on(name: str) -> None:
    history = rows([0.1] * 9)
    assert STOPPING_RULES[name](SETTINGS).judge(record_of(0, 9, []), {0: history}).reason is None


def test_the_settings_choose_the_rule() -> None:
    assert type(stopping_rule(SETTINGS)) is STOPPING_RULES["halving"]
    off = parse_settings({"search": {"halving": {"enabled": False}}})
    assert type(stopping_rule(off)) is STOPPING_RULES["none"]
