"""Ray Tune as the muscle: runs the conductor's assignments in reused actors and brings back their reports."""

import errno
import json
import logging
import os
import tempfile
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from intra_search.cluster.capacity import TRIAL_CPUS, Cluster
from intra_search.config.parsing import parse_settings
from intra_search.config.study import StudySettings
from intra_search.errors import IntraSearchError, StorageError
from intra_search.search.conductor import Assignment, Conductor, TrialReport
from intra_search.store.ledger import trial_folder
from intra_search.store.storage import Storage
from intra_search.training.job import TrainingJob, student_job

if TYPE_CHECKING:
    from intra_search.training.loop import Training


OVER = "over"
"""Key of the last word of a trial of several workers."""


def run_trials(conductor: Conductor, settings: StudySettings, job: dict[str, Any], cluster: Cluster) -> None:
    """Runs the conductor's trials on the connected cluster until it hands out no more.

    Args:
        conductor: decides; every report reaches it in this process.
        resources: of one trial.
        job: what all trials share: study, knowledge and teacher, as `student_job` takes them.
        max_concurrent: trials at a time.
    """
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # the ledger and its mirrors log
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # ours finishes the epoch first
    resources = settings.resources
    max_concurrent, gpus = cluster.max_concurrent(settings), cluster.trial_gpus / resources.workers
    if resources.workers > 1:
        # The group's placement group comes on top of what the trial itself holds, and 0 CPU is refused.
        trainable = tune.with_resources(group_trial, {"CPU": TRIAL_CPUS})
    else:
        trainable = tune.with_resources(StudentTrainable, {"CPU": resources.cpus_per_worker, "GPU": gpus})
    # Its summary at the end misses the result files that we switched off.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    scheduler = _ConductedScheduler(conductor, resources.max_restarts)
    with tempfile.TemporaryDirectory(prefix="intra-search-tune-") as scratch:
        tuner = tune.Tuner(
            trainable,
            param_space={"job": job, "use_gpu": gpus > 0, "gpus_per_worker": gpus},
            tune_config=tune.TuneConfig(
                search_alg=_ConductedSearcher(conductor, max_concurrent, scheduler.failures),
                scheduler=scheduler,
                num_samples=-1,
                reuse_actors=resources.workers == 1,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            # Nobody reads Tune's own state back: the ledger holds all, so it goes to a folder that is thrown away.
            run_config=tune.RunConfig(
                name="search",
                storage_path=scratch,
                verbose=0,
                # Trainings write their own checkpoints; Tune refuses the option for functions.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False if resources.workers == 1 else None),
                failure_config=tune.FailureConfig(max_failures=resources.max_restarts),
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


class StudentTrainable(tune.Trainable):  # type: ignore[misc]
    """One-worker trials, one after another in one process: imports, decoded scenes and mapped knowledge stay."""

    def setup(self, config: dict[str, Any]) -> None:
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        # The training is built in `step`, where an error can be reported: here it would end the actor.
        self._config = new_config
        self._training: Training | None = None
        return True

    def step(self) -> dict[str, Any]:
        # Reports travel as JSON text: Tune flattens and copies nested results many times over.
        from intra_search.training.loop import DivergedError
        from intra_search.training.worker import progress_report

        try:
            self._run_epoch()
            assert self._training is not None
            return {**progress_report(self._training), "done": self._training.finished}
        except StorageError as error:
            return {"storage_error": json.dumps([str(part) for part in error.args]), "done": True}
        except (IntraSearchError, DivergedError) as error:
            return {**progress_report(self._training, failure=str(error)), "done": True}
        except Exception:
            return {**progress_report(self._training, failure=traceback.format_exc()), "done": True}

    def _run_epoch(self) -> None:
        import torch

        from intra_search.training.loop import Training

        if self._training is None:
            job = _job(self._config)
            torch.set_num_threads(max(1, int(job.settings.resources.cpus_per_worker)))
            self._training = Training(job, use_gpu=self._config["use_gpu"])
        if not self._training.finished:
            self._training.run_epoch()


def group_trial(config: dict[str, Any]) -> None:
    """A trial of several workers: a Ray Train group inside the trial.

    A crash of any worker ends the group; a new one goes on from the newest checkpoint, at most
    `resources.max_restarts` times. Then the trial reports its failure with the last error. An error that would come
    again is reported at once: one of our own, or one that came twice with no checkpoint between.
    """
    from ray.tune.integration.ray_train import TuneReportCallback

    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")  # Ray's 2 s would be the least time of an epoch
    job = _job(config)
    # All reports go this way, one after another: `tune.report` beside one of the group's that is still under way would
    # wait for ever for the place that it took.
    reports = TuneReportCallback()
    _leave(reports, _run_groups(job, config, reports))


def _leave(reports: Any, last: dict[str, Any]) -> None:
    """Says the last word and waits to be stopped.

    A function that returns is over for Tune at once, though a report of it may be under way: that one would be lost,
    and its trial wait for ever.
    """
    reports.after_report(None, [{**last, OVER: True}], None)
    threading.Event().wait()


def _run_groups(job: TrainingJob, config: dict[str, Any], reports: Any) -> dict[str, Any]:
    """Runs groups until one ends well, or none will. Returns what is still to be reported, if anything."""
    from intra_search.training.worker import progress_report

    last: tuple[list[str], list[str]] | None = None
    for attempt in range(job.settings.resources.max_restarts + 1):
        try:
            _group(job, config, attempt, reports).fit()
            return {}
        except Exception as error:
            failure, ours = f"{type(error).__name__}: {error}", _ours_among_workers(error)
            if isinstance(ours, StorageError):
                return {"storage_error": json.dumps([str(part) for part in ours.args])}
            happened = _raised_by_workers(error), _checkpoints(job)
            if ours is not None or (happened == last and happened[0]):
                failure = str(ours or failure)
                break
            last = happened
    return progress_report(None, failure=failure, restarts=attempt)


def _checkpoints(job: TrainingJob) -> list[str]:
    return [name for name in Storage(job.study).names(job.output_folder) if name.startswith("checkpoint")]


def _raised_by_workers(error: Exception) -> list[str]:
    """What the workers of a group said, alike each time if it is the training's; none for a group that did not start,
    whose machines may come yet. A worker that died is told with its process id, so never alike."""
    failures = getattr(error, "worker_failures", {})
    return sorted(str(getattr(failure, "_base_exc", failure)) for failure in failures.values())


def _group(job: TrainingJob, config: dict[str, Any], attempt: int, reports: Any) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    resources = job.settings.resources
    per_worker = {"CPU": resources.cpus_per_worker} | ({"GPU": config["gpus_per_worker"]} if config["use_gpu"] else {})
    return TorchTrainer(
        _train_in_group,
        train_loop_config={"job": job, "use_gpu": config["use_gpu"], "restarts": attempt},
        scaling_config=ScalingConfig(
            num_workers=resources.workers, use_gpu=config["use_gpu"], resources_per_worker=per_worker
        ),
        run_config=RunConfig(
            name=f"ray-train-{attempt}",
            storage_path=Storage(job.study).full_path(job.output_folder),
            callbacks=[reports],
            # A group that cannot start counts as a crash; Ray would try without end.
            failure_config=FailureConfig(controller_failure_limit=0),
        ),
    )


def _train_in_group(config: dict[str, Any]) -> None:
    # Train's controller unpickles this function, and so imports its module: this one, which is light. Only the workers
    # need the training's, which take seconds.
    from intra_search.training.worker import train_in_group

    train_in_group(config)


def _ours_among_workers(error: Exception) -> IntraSearchError | None:
    """The error of our own that ended a group, whichever worker raised it; None for a crash.

    Ray Train keeps its own files beside our checkpoints, so a full disk may show there first.
    """
    for failure in (error, getattr(error, "controller_failure", None), *getattr(error, "worker_failures", {}).values()):
        cause: BaseException | None = getattr(failure, "_base_exc", failure)  # Ray's wrapping keeps the traceback
        seen: set[int] = set()  # what a task raised may in turn name the task's error as its context
        while cause is not None and id(cause) not in seen:
            seen.add(id(cause))
            if isinstance(cause, IntraSearchError):
                return cause
            if _no_space(cause):
                where = str(getattr(cause, "filename", None) or "the study's storage")
                return StorageError(where, "needs space", "none left on the device", "free some and run again")
            raised = cause.cause if isinstance(cause, ray.exceptions.RayTaskError) else None
            cause = raised or cause.__cause__ or cause.__context__
    return None


def _no_space(error: BaseException) -> bool:
    # Of an actor that could not be made, Ray keeps the text only.
    text_only = isinstance(error, ray.exceptions.RayError) and os.strerror(errno.ENOSPC) in str(error)
    return text_only or (isinstance(error, OSError) and error.errno == errno.ENOSPC)


def _job(config: dict[str, Any]) -> TrainingJob:
    assigned = config["assignment"]
    return student_job(
        trial=assigned["trial"],
        folder=trial_folder(assigned["trial"]),
        generation=assigned["generation"],
        settings=parse_settings(json.loads(assigned["settings"])),
        **config["job"],
    )


class _ConductedSearcher(Searcher):  # type: ignore[misc]
    """Hands the conductor's assignments to Tune."""

    def __init__(self, conductor: Conductor, max_concurrent: int, failures: Mapping[str, str]) -> None:
        super().__init__(metric="training_iteration", mode="max")  # Tune wants a metric; nobody reads it
        self._conductor = conductor
        self._max_concurrent = max_concurrent
        self._failures = failures
        self._trials: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        if self._conductor.exhausted:
            return Searcher.FINISHED  # also while trials run: one that could not report its end stays running
        assignment = None
        if self._conductor.num_running < self._max_concurrent:
            assignment = self._conductor.next()
        if assignment is None:
            return None
        self._trials[trial_id] = assignment.trial
        return {"assignment": _plain(assignment)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if error:
            self._conductor.lost(self._trials[trial_id], self._failures[trial_id])

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher for its own restore, which we never use

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the conductor lives in the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a search is resumed from its ledger, not from Tune's state")


class _ConductedScheduler(FIFOScheduler):  # type: ignore[misc]
    """Brings each report to the conductor and its decision back to Tune."""

    def __init__(self, conductor: Conductor, max_restarts: int) -> None:
        super().__init__()
        self._conductor = conductor
        self._max_restarts = max_restarts
        self.error: StorageError | None = None
        self.failures: dict[str, str] = {}
        """What happened to the workers of a trial, by Tune's name for it."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as the searcher's

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        # Called for a worker that will be replaced, too; only of the last one is the searcher told, after this.
        died = f"its worker died {trial.num_failures} times (resources.max_restarts = {self._max_restarts})"
        self.failures[trial.trial_id] = f"{died}; last: {_last_error(trial)}"

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        if not self._conductor.is_running(trial.config["assignment"]["trial"]):
            return str(TrialScheduler.STOP)  # a report that was under way when the trial was ended
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
        if "report" not in result:  # a group's last word, though its trial is not at its end
            self._conductor.lost(number, "its workers left without a report of its end")
            return str(TrialScheduler.STOP)
        report = TrialReport(**json.loads(result["report"]))
        decision = self._conductor.report(number, report)
        # A trial that has finished leaves by itself; stopping it would kill a group while it cleans up.
        goes_on = OVER not in result and (decision == "continue" or report.finished)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)


def _last_error(trial: Trial) -> str:
    """What ended a trial's worker the last time, in one line; Tune appends the text of every failure to a file."""
    try:
        text = Path(trial.error_file or "").read_text(encoding="utf-8")
    except OSError:
        return "unknown"
    _, _, last = text.rpartition("Failure #")[2].partition("\n")
    return " ".join(last.split())


def _plain(assignment: Assignment) -> dict[str, Any]:
    return {**assignment._asdict(), "settings": assignment.settings.model_dump_json()}


def _trial_name(trial: Trial) -> str:
    return f"trial-{trial.config['assignment']['trial']:05d}"
