"""The protocol between who decides (a conductor) and who does the work (Ray Tune, or a simulation)."""

from enum import StrEnum
from typing import NamedTuple, Protocol

from intra_search.config.study import StudySettings
from intra_search.training.report import TrialReport


class Assignment(NamedTuple):
    """A trial to run now, from its newest checkpoint if it has one."""

    trial: int
    generation: int
    settings: StudySettings


class Decision(StrEnum):
    """What becomes of a trial after a report."""

    CONTINUE = "continue"
    STOP = "stop"


class WorkSource(Protocol):
    """Hands out trials and takes their reports. It knows nothing of how they are run.

    The life of a trial as its worker sees it: `next` hands it out; `report` is called after each epoch until it answers
    STOP or the report says finished. Instead, `lost` is called when no worker can go on, `give_back` when none could
    begin. Reports of trials that are not running are ignored.
    """

    @property
    def exhausted(self) -> bool:
        """Whether no trial will be handed out any more."""

    @property
    def num_running(self) -> int:
        """Trials that were handed out and have not ended."""

    def is_running(self, trial: int) -> bool: ...

    def next(self) -> Assignment | None:
        """A trial to run now; None when there is none at the moment."""

    def report(self, trial: int, report: TrialReport) -> Decision:
        """Takes what a trial's worker says and decides whether it goes on."""

    def lost(self, trial: int, reason: str) -> None:
        """The trial's worker is gone for good."""

    def give_back(self, trial: int) -> None:
        """The trial was not run, though nothing is wrong with it: it is handed out again. No effect once it has
        ended."""

    def drain(self) -> None:
        """Hands out nothing more and lets every trial leave after its next report."""
