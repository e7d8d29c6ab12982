"""The life of a trial: which state may follow which, and that every state says what others need of it."""

import optuna
import pytest
from rich.style import Style

from intra_search.store.ledger import TrialRecord
from intra_search.store.trial_state import TrialState

ENDS = {TrialState.DONE, TrialState.STOPPED, TrialState.FAILED, TrialState.INFEASIBLE}


@pytest.mark.parametrize("state", TrialState)
def test_every_state_is_known_to_the_sampler_and_the_terminal(state: TrialState) -> None:
    assert state.told in optuna.trial.TrialState.__members__
    assert Style.parse(state.colour)
    assert TrialState(state.value) is state


def test_what_a_state_is() -> None:
    assert [state.value for state in TrialState] == ["waiting", "running", "done", "stopped", "failed", "infeasible"]
    assert {state for state in TrialState if state.is_live} == {TrialState.WAITING, TrialState.RUNNING}
    assert {state for state in TrialState if state.is_finished} == ENDS - {TrialState.INFEASIBLE}
    assert {state for state in TrialState if state.can_be_picked} == {TrialState.DONE, TrialState.STOPPED}


def test_an_end_is_final_and_every_end_can_be_reached() -> None:
    for state in TrialState:
        followers = {other for other in TrialState if state.may_become(other)}
        assert not followers if state in ENDS else followers
    reached = {state for state in TrialState if any(other.may_become(state) for other in TrialState)}
    assert reached == set(TrialState)


def test_a_record_moves_only_along_its_life() -> None:
    record = TrialRecord(trial=0, state=TrialState.WAITING, point={}, origin="point", created="now")
    running = record.moved_to(TrialState.RUNNING, generation=3)
    assert (running.state, running.generation, record.state) == (TrialState.RUNNING, 3, TrialState.WAITING)
    done = running.moved_to(TrialState.DONE, reason=None)
    with pytest.raises(RuntimeError, match="trial 0 cannot go from done to running"):
        done.moved_to(TrialState.RUNNING)


def test_a_record_reads_and_writes_the_plain_word() -> None:
    record = TrialRecord(trial=0, state=TrialState.STOPPED, point={}, origin="point", created="now")
    assert record.model_dump(mode="json")["state"] == "stopped"
    assert TrialRecord.model_validate_json(record.model_dump_json()).state is TrialState.STOPPED
