"""The contract of a mirror: a copy of the ledger for another tool, which nobody here reads back."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from intra_search.config.study_file import StudyPlan
from intra_search.store.events import Event
from intra_search.store.ledger import HistoryRow, TrialRecord
from intra_search.store.study_folder import StudyFolder

logger = logging.getLogger(__name__)


class Mirror(ABC):
    """Listens to a study's events. Making one writes nothing."""

    @abstractmethod
    def __init__(self, folder: StudyFolder, plan: StudyPlan) -> None: ...

    @abstractmethod
    def begin(self, records: Iterable[TrialRecord], histories: Mapping[int, list[HistoryRow]]) -> None:
        """Called once, before the trials run, with all that the ledger holds. Events may come before."""

    @abstractmethod
    def __call__(self, event: Event) -> None: ...

    @abstractmethod
    def close(self) -> None: ...


@contextmanager
def warned() -> Iterator[None]:
    """A mirror that cannot be written gives a warning only: the ledger does not depend on it."""
    try:
        yield
    except OSError as error:
        logger.warning("A mirror of the ledger was not written: %s", error)
