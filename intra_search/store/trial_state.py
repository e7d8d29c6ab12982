"""The life of a trial: its states, what may follow each, and what others make of it (sampler, ranking, terminal)."""

from enum import StrEnum
from typing import Literal, NamedTuple


class TrialState(StrEnum):
    """Where a trial is in its life. The order is the one in which people are shown the states."""

    WAITING = "waiting"
    """Has a point; no worker has begun, or its last one left."""
    RUNNING = "running"
    """Handed out to a worker by the newest driver, or by one that died."""
    DONE = "done"
    """Trained to its last epoch."""
    STOPPED = "stopped"
    """Ended early, at a rung."""
    FAILED = "failed"
    """Could not be trained; the record says why."""
    INFEASIBLE = "infeasible"
    """Breaks a limit that was known before training, so it is never trained."""

    @property
    def rank(self) -> int:
        """Place of its trials in a ranking: full trainings first, then those stopped on the way."""
        return _LIFE[self].rank

    @property
    def told(self) -> str:
        """Name of the state in `optuna.trial.TrialState` that the sampler is told."""
        return _LIFE[self].told

    @property
    def told_with(self) -> Literal["value", "curve", "nothing"]:
        """What the sampler is told beside the state: the best value, the value after each epoch, or nothing."""
        return _LIFE[self].told_with

    @property
    def colour(self) -> str:
        """In the terminal."""
        return _LIFE[self].colour

    @property
    def is_live(self) -> bool:
        """Whether the trial goes on when its study does."""
        return self in (TrialState.WAITING, TrialState.RUNNING)

    @property
    def is_finished(self) -> bool:
        """Whether the trial was trained and has ended: done, stopped or failed."""
        return self in _ENDS

    @property
    def can_be_picked(self) -> bool:
        """Whether the trial's best checkpoint may be the study's pick."""
        return self in (TrialState.DONE, TrialState.STOPPED)

    def may_become(self, state: "TrialState") -> bool:
        """Whether `state` may follow. A running trial that is handed out again stays running."""
        return state in _LIFE[self].followers


class _Stage(NamedTuple):
    """One row of the table below; its columns are the properties of `TrialState`."""

    rank: int
    told: str
    told_with: Literal["value", "curve", "nothing"]
    colour: str
    followers: frozenset[TrialState] = frozenset()


_ENDS = frozenset({TrialState.DONE, TrialState.STOPPED, TrialState.FAILED})
_LIFE: dict[TrialState, _Stage] = {
    # A waiting trial may hold a whole history: its driver died, or left, before it could record the end.
    TrialState.WAITING: _Stage(2, "RUNNING", "nothing", "dim", _ENDS | {TrialState.RUNNING, TrialState.INFEASIBLE}),
    TrialState.RUNNING: _Stage(2, "RUNNING", "nothing", "cyan", _ENDS | {TrialState.RUNNING, TrialState.WAITING}),
    TrialState.DONE: _Stage(0, "COMPLETE", "value", "green"),
    TrialState.STOPPED: _Stage(1, "PRUNED", "curve", "yellow"),
    TrialState.FAILED: _Stage(3, "FAIL", "nothing", "red"),
    TrialState.INFEASIBLE: _Stage(4, "PRUNED", "nothing", "magenta"),
}
