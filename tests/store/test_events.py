"""Events reach every listener, in order, also through a pickle."""

import pickle

import pytest

from intra_search.store.events import (
    Event,
    Note,
    PlainStudentEpoch,
    ShardStored,
    TeacherEpoch,
    TrialAsked,
    TrialEnded,
    TrialLaunched,
    TrialReported,
    tell_all,
)
from intra_search.store.ledger import TrialRecord
from intra_search.store.trial_state import TrialState

RECORD = TrialRecord(trial=3, state=TrialState.RUNNING, point={"distill.enabled": True}, origin="point", created="now")
ROW = {"epoch": 1, "val/miou": 0.5, "seconds": 1.0}
EVENTS: list[Event] = [
    Note("a decision"),
    TeacherEpoch(ROW, 7),
    PlainStudentEpoch(ROW, 7),
    ShardStored(1, 3),
    TrialAsked(RECORD),
    TrialLaunched(RECORD),
    TrialReported(RECORD, [ROW]),
    TrialEnded(RECORD, [ROW]),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_travels_between_processes(event: Event) -> None:
    assert pickle.loads(pickle.dumps(event)) == event


def test_every_listener_is_told_in_order() -> None:
    heard: list[tuple[str, Event]] = []
    tell = tell_all(lambda event: heard.append(("a", event)), lambda event: heard.append(("b", event)))
    for event in EVENTS[:2]:
        tell(event)
    assert heard == [("a", EVENTS[0]), ("b", EVENTS[0]), ("a", EVENTS[1]), ("b", EVENTS[1])]
