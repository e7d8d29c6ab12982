"""What happens in a study, as values. Everyone who wants to know is one function that takes an event.

An event is told after it has reached the disk. Events can be pickled: a driver on a distant cluster sends them here.
"""

from collections.abc import Callable
from dataclasses import dataclass

from intra_search.store.ledger import HistoryRow, TrialRecord


@dataclass(frozen=True)
class Note:
    """A decision or a step, in one line for a person."""

    text: str


@dataclass(frozen=True)
class TeacherEpoch:
    """The teacher has finished an epoch."""

    row: HistoryRow
    epochs: int
    """Of its whole training."""


@dataclass(frozen=True)
class PlainStudentEpoch:
    """The plain student trained for the comparison only has finished an epoch."""

    row: HistoryRow
    epochs: int


@dataclass(frozen=True)
class TwinEpoch:
    """The plain twin of the pick has finished an epoch."""

    trial: int
    row: HistoryRow
    epochs: int


@dataclass(frozen=True)
class ShardStored:
    """One more shard is stored: the teacher's answers about up to 64 scenes."""

    stored: int
    """Shards stored so far."""
    total: int


@dataclass(frozen=True)
class TrialAsked:
    """A new trial has its point; its record is written."""

    record: TrialRecord


@dataclass(frozen=True)
class TrialLaunched:
    """A trial was handed out to a worker."""

    record: TrialRecord


@dataclass(frozen=True)
class TrialReported:
    """A trial's worker has reported; its history is written."""

    record: TrialRecord
    history: list[HistoryRow]


@dataclass(frozen=True)
class TrialEnded:
    """A trial is done, stopped or failed; its record is written."""

    record: TrialRecord
    history: list[HistoryRow]


TrialEvent = TrialAsked | TrialLaunched | TrialReported | TrialEnded
Event = Note | TeacherEpoch | PlainStudentEpoch | TwinEpoch | ShardStored | TrialEvent
Tell = Callable[[Event], None]


def tell_all(*listeners: Tell) -> Tell:
    """One function that tells every listener, in this order."""

    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return tell
