"""The life of a trial: its states, what may follow each, and what others make of it (sampler, ranking, terminal)."""

from enum import StrEnum


class TrialState(StrEnum):
    """Where a trial is in its life. The order is the one in which people are shown the states."""

    rank: int
    """Place of its trials in a ranking: full trainings first, then those stopped on the way."""
    told: str
    """Name of the state in `optuna.trial.TrialState` that the sampler is told."""
    colour: str
    """In the terminal."""

    def __new__(cls, value: str, rank: int, told: str, colour: str) -> "TrialState":
        state = str.__new__(cls, value)
        state._value_ = value
        state.rank, state.told, state.colour = rank, told, colour
        return state

    WAITING = "waiting", 2, "RUNNING", "dim"
    """Has a point; no worker has begun, or its last one left."""
    RUNNING = "running", 2, "RUNNING", "cyan"
    """Handed out to a worker by the newest driver, or by one that died."""
    DONE = "done", 0, "COMPLETE", "green"
    """Trained to its last epoch."""
    STOPPED = "stopped", 1, "PRUNED", "yellow"
    """Ended early, at a rung."""
    FAILED = "failed", 3, "FAIL", "red"
    """Could not be trained; the record says why."""
    INFEASIBLE = "infeasible", 4, "PRUNED", "magenta"
    """Breaks a limit that was known before training, so it is never trained."""

    @property
    def is_live(self) -> bool:
        """Whether the trial goes on when its study does."""
        return self in (TrialState.WAITING, TrialState.RUNNING)

    @property
    def is_finished(self) -> bool:
        """Whether the trial was trained and has ended: done, stopped or failed."""
        return self in (TrialState.DONE, TrialState.STOPPED, TrialState.FAILED)

    @property
    def can_be_picked(self) -> bool:
        """Whether the trial's best checkpoint may be the study's pick."""
        return self in (TrialState.DONE, TrialState.STOPPED)

    def may_become(self, state: "TrialState") -> bool:
        """Whether `state` may follow. A running trial that is handed out again stays running."""
        return state in _NEXT[self]


_ENDS = {TrialState.DONE, TrialState.STOPPED, TrialState.FAILED}
_NEXT: dict[TrialState, set[TrialState]] = {
    # A waiting trial may hold a whole history (its driver died, or left, before it could record the end).
    TrialState.WAITING: {TrialState.RUNNING, TrialState.INFEASIBLE, *_ENDS},
    TrialState.RUNNING: {TrialState.RUNNING, TrialState.WAITING, *_ENDS},
    TrialState.DONE: set(),
    TrialState.STOPPED: set(),
    TrialState.FAILED: set(),
    TrialState.INFEASIBLE: set(),
}
