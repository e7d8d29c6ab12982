"""Ray Tune as the muscle: runs the conductor's assignments in reused actors and brings back their reports."""

import json
import logging
import os
import tempfile
import traceback
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from intra_search.config.settings import ResourcesSettings, parse_settings
from intra_search.errors import IntraSearchError, StorageError
from intra_search.search.conductor import Assignment, Conductor, TrialReport
from intra_search.store.ledger import trial_folder

logger = logging.getLogger(__name__)

MAX_ACTOR_LOSSES = 3
"""How often one trial's actor may die (killed, out of memory, machine lost) before the trial counts as failed."""


def run_trials(conductor: Conductor, resources: ResourcesSettings, job: dict[str, Any], max_concurrent: int) -> None:
    """Runs the conductor's trials on the connected cluster until it hands out no more.

    Args:
        conductor: decides; every report reaches it in this process.
        resources: of one trial.
        job: what all trials share: study, knowledge and teacher, as `student_job` takes them.
        max_concurrent: trials at a time.
    """
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # the ledger and its mirrors log
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # ours finishes the epoch first
    gpus = gpus_of_trial(resources)
    trainable = tune.with_resources(StudentTrainable, {"CPU": resources.cpus_per_worker, "GPU": gpus})
    # Its summary at the end misses the result files that we switched off.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    scheduler = _ConductedScheduler(conductor)
    with tempfile.TemporaryDirectory(prefix="intra-search-tune-") as scratch:
        tuner = tune.Tuner(
            trainable,
            param_space={"job": job, "use_gpu": gpus > 0},
            tune_config=tune.TuneConfig(
                search_alg=_ConductedSearcher(conductor, max_concurrent),
                scheduler=scheduler,
                num_samples=-1,
                reuse_actors=True,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            # Nobody reads Tune's own state back: the ledger holds all, so it goes to a folder that is thrown away.
            run_config=tune.RunConfig(
                name="search",
                storage_path=scratch,
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # trainings write their own
                failure_config=tune.FailureConfig(max_failures=MAX_ACTOR_LOSSES),
            ),
        )
        try:
            tuner.fit()
        except tune.TuneError as error:
            raise _ours_within(error) or error from None
    if scheduler.error is not None:
        raise scheduler.error


def _ours_within(error: BaseException) -> IntraSearchError | None:
    """Tune turns what searcher and scheduler raise into text; the error itself is what it was handling then."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, IntraSearchError):
        cause = cause.__cause__ or cause.__context__
    return cause


def gpus_of_trial(resources: ResourcesSettings) -> float:
    """GPUs that a one-worker trial asks for, from the settings and what the cluster has."""
    per_worker = resources.gpus_per_worker
    if per_worker == "auto":
        per_worker = 1 if ray.cluster_resources().get("GPU", 0) >= 1 else 0
    return per_worker / resources.trials_per_gpu


class StudentTrainable(tune.Trainable):  # type: ignore[misc]
    """One trial after another in one process: imports, decoded scenes and mapped knowledge stay."""

    def setup(self, config: dict[str, Any]) -> None:
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        # The training is built in `step`, where an error can be reported: here it would end the actor.
        self._config = new_config
        self._training: Any = None
        return True

    def step(self) -> dict[str, Any]:
        # Reports travel as JSON text: Tune flattens and copies nested results many times over.
        try:
            return self._one_epoch()
        except StorageError as error:
            return {"error": str(error), "storage_error": json.dumps([str(part) for part in error.args]), "done": True}
        except IntraSearchError as error:
            return self._failed(str(error))
        except Exception as error:
            if type(error).__name__ == "DivergedError":
                return self._failed(str(error))
            return self._failed(traceback.format_exc())

    def _one_epoch(self) -> dict[str, Any]:
        if self._training is None:
            self._training = _start_training(self._config)
        if not self._training.finished:
            self._training.run_epoch()
        report = TrialReport(self._training.history, self._training.finished, self._training.num_parameters)
        return {"report": json.dumps(report._asdict()), "done": self._training.finished}

    def _failed(self, reason: str) -> dict[str, Any]:
        history = self._training.history if self._training is not None else []
        parameters = self._training.num_parameters if self._training is not None else 0
        report = TrialReport(history, True, parameters, failure=reason)
        return {"report": json.dumps(report._asdict()), "done": True}


def _start_training(config: dict[str, Any]) -> Any:
    import torch

    from intra_search.training.job import student_job
    from intra_search.training.loop import Training

    assigned = config["assignment"]
    settings = parse_settings(json.loads(assigned["settings"]))
    torch.set_num_threads(max(1, int(settings.resources.cpus_per_worker)))
    job = student_job(
        trial=assigned["trial"],
        folder=trial_folder(assigned["trial"]),
        generation=assigned["generation"],
        settings=settings,
        **config["job"],
    )
    return Training(job, use_gpu=config["use_gpu"])


class _ConductedSearcher(Searcher):  # type: ignore[misc]
    """Hands the conductor's assignments to Tune."""

    def __init__(self, conductor: Conductor, max_concurrent: int) -> None:
        super().__init__(metric="training_iteration", mode="max")  # Tune wants a metric; nobody reads it
        self._conductor = conductor
        self._max_concurrent = max_concurrent
        self._trials: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        if self._conductor.num_running >= self._max_concurrent:
            return None
        assignment = self._conductor.next()
        if assignment is None:
            return Searcher.FINISHED if self._conductor.exhausted else None
        self._trials[trial_id] = assignment.trial
        return {"assignment": _plain(assignment)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if error:
            reason = f"its worker died {MAX_ACTOR_LOSSES + 1} times"
            self._conductor.lost(self._trials[trial_id], reason)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher for its own restore, which we never use

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the conductor lives in the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a search is resumed from its ledger, not from Tune's state")


class _ConductedScheduler(FIFOScheduler):  # type: ignore[misc]
    """Brings each report to the conductor and its decision back to Tune."""

    def __init__(self, conductor: Conductor) -> None:
        super().__init__()
        self._conductor = conductor
        self.error: StorageError | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as the searcher's

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        return self._take(trial, result)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        # Called with a last report that `on_trial_result` has not seen, and again after each of our own stops.
        if self._conductor.is_running(trial.config["assignment"]["trial"]):
            self._take(trial, result)

    def _take(self, trial: Trial, result: dict[str, Any]) -> str:
        if "storage_error" in result:
            # The study itself cannot be written: no trial can go on.
            self.error = StorageError(*json.loads(result["storage_error"]))
            self._conductor.drain()
            return str(TrialScheduler.STOP)
        number = trial.config["assignment"]["trial"]
        decision = self._conductor.report(number, TrialReport(**json.loads(result["report"])))
        return str(TrialScheduler.CONTINUE if decision == "continue" else TrialScheduler.STOP)


def _plain(assignment: Assignment) -> dict[str, Any]:
    return {**assignment._asdict(), "settings": assignment.settings.model_dump_json()}


def _trial_name(trial: Trial) -> str:
    return f"trial-{trial.config['assignment']['trial']:05d}"
