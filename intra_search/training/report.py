"""What a trial's worker says to the search, as a typed message; between processes it travels as JSON text."""

import json
from typing import NamedTuple

from intra_search.errors import StorageError
from intra_search.store.ledger import HistoryRow

REPORT = "report"
"""Key of a report's text in Ray's results: Ray would flatten and copy a nested report many times."""


class TrialReport(NamedTuple):
    """What a trial's worker says after each epoch: all finished epochs, so that nothing depends on earlier reports."""

    history: list[HistoryRow]
    finished: bool
    """Whether the trial has ended: trained to its last epoch, or failed."""
    num_parameters: int
    attempt: str = ""
    """Id of the training process; a new one means that the last one died. Empty if none started."""
    restarts: int = 0
    """Crashes since the trial was handed out, as far as its own processes know of them."""
    notes: tuple[str, ...] = ()
    """Decisions of the worker that a person should see."""
    failure: str | None = None
    """Why the trial cannot go on."""
    storage_error: tuple[str, str, str, str] | None = None
    """Parts of a `StorageError`: the study cannot be written, so no trial can go on."""
    final: bool = False
    """Marks a group's final report: its trial says nothing more and waits to be stopped."""

    def to_json(self) -> str:
        return json.dumps(self._asdict())

    @classmethod
    def of_json(cls, text: str) -> "TrialReport":
        fields = json.loads(text)
        parts = fields["storage_error"]
        return cls(**{**fields, "notes": tuple(fields["notes"]), "storage_error": tuple(parts) if parts else None})

    @classmethod
    def of_failure(cls, text: str, restarts: int = 0) -> "TrialReport":
        """The report of a worker that could not begin."""
        return cls([], finished=True, num_parameters=0, restarts=restarts, failure=text)

    @classmethod
    def of_storage_error(cls, error: StorageError) -> "TrialReport":
        """The report of a worker that cannot write the study."""
        where, rule, found, remedy = (str(part) for part in error.args)
        return cls([], finished=False, num_parameters=0, storage_error=(where, rule, found, remedy))


def message(report: TrialReport) -> dict[str, str]:
    """A report as what Ray Tune and Ray Train call metrics."""
    return {REPORT: report.to_json()}
