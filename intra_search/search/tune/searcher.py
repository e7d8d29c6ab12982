"""Hands a work source's assignments to Ray Tune."""

from collections.abc import Callable
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from intra_search.search.work import Assignment, WorkSource
from intra_search.training.job import TrainingJob


class WorkSearcher(Searcher):  # type: ignore[misc]
    """What Tune takes for a search algorithm: each suggestion is one assignment, as a whole job."""

    def __init__(self, work: WorkSource, make_job: Callable[[Assignment], TrainingJob], max_concurrent: int) -> None:
        super().__init__(metric="training_iteration", mode="max")  # Tune wants a metric; nobody reads it
        self._work = work
        self._make_job = make_job
        self._max_concurrent = max_concurrent
        self._trials: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        if self._work.exhausted:
            return Searcher.FINISHED  # even while trials run: one that cannot report counts as running
        assignment = None
        if self._work.num_running < self._max_concurrent:
            assignment = self._work.next()
        if assignment is None:
            return None
        self._trials[trial_id] = assignment.trial
        return {"trial": assignment.trial, "job": self._make_job(assignment).to_json()}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if error:  # Tune dropped a trial that the policy has not given up: its worker died before it could begin
            self._work.give_back(self._trials[trial_id])

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher for its own restore, which we never use

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the ledger holds all."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a search is resumed from its ledger, not from Tune's state")


def number_of(trial: Trial) -> int:
    """The ledger's number of one of Tune's trials."""
    return int(trial.config["trial"])


def tune_name(trial: Trial) -> str:
    """The name by which Tune knows a trial."""
    return f"trial-{number_of(trial):05d}"
