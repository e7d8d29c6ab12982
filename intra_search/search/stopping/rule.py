"""The contract of a stopping rule: which trials are not worth training to the end."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

from intra_search.config.objectives import Objectives
from intra_search.config.study import StudySettings
from intra_search.store.ledger import HistoryRow, TrialRecord


class Verdict(NamedTuple):
    """What a rule says of a trial."""

    passed: list[int]
    """Rungs (epochs) that the trial has passed, earlier ones included."""
    reason: str | None
    """Why the trial stops; None when it goes on."""


class StoppingRule(ABC):
    """Decides from the ledger alone, so that a new driver decides as the last one did."""

    def __init__(self, settings: StudySettings) -> None:
        self._settings = settings
        self._objectives = Objectives.of(settings)

    @abstractmethod
    def judge(self, record: TrialRecord, histories: Mapping[int, list[HistoryRow]]) -> Verdict:
        """Judges a trial after a report, by the histories of all trials, its own included."""


class NeverStop(StoppingRule):
    """Trains every trial to its last epoch."""

    def judge(self, record: TrialRecord, histories: Mapping[int, list[HistoryRow]]) -> Verdict:
        return Verdict(list(record.rungs), None)
