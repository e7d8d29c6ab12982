"""A driver that kills itself with SIGKILL at the n-th event of a kind: `driver.py STUDY.toml STUDY EVENT N`."""

import os
import signal
import sys

from intra_search.config.study_file import load_study
from intra_search.search.conductor import Event
from intra_search.search.study import run_study
from intra_search.store.ledger import HistoryRow, TrialRecord


class KillingObserver:
    """Counts the conductor's events of one kind."""

    def __init__(self, event: str, count: int) -> None:
        self._event = event
        self._left = count

    def note(self, text: str) -> None:
        pass

    def teacher_epoch(self, row: HistoryRow, epochs: int) -> None:
        self._count("teacher")

    def extracted(self, shards: int, of: int) -> None:
        self._count("extracted")

    def trial_event(self, event: Event, record: TrialRecord, history: list[HistoryRow]) -> None:
        self._count(event)

    def _count(self, event: str) -> None:
        self._left -= event == self._event
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    file, study, event, count = sys.argv[1:]
    run_study(study, load_study(file), KillingObserver(event, int(count)), address=None, takeover=False)
