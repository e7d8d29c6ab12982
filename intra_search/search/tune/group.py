"""Trials of several workers: a worker group of Ray Train inside one of Tune's trials."""

import os
import threading
from typing import Any

from intra_search.store.ledger import checkpoint_epochs
from intra_search.store.storage import Storage
from intra_search.training.failures import Cause, EndStudy, Fail, Failure, RestartPolicy, classify
from intra_search.training.job import TrainingJob
from intra_search.training.report import TrialReport, message


def group_trial(config: dict[str, Any]) -> None:
    """Runs a trial's worker group; after a failure `RestartPolicy` decides whether another one goes on from the newest
    checkpoint."""
    from ray.tune.integration.ray_train import TuneReportCallback

    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")  # Ray's 2 s would be the least time of an epoch
    # One object sends all reports, one after another: `tune.report`, called while a report of the group is being
    # sent, would wait for ever.
    reports = TuneReportCallback()
    leave(reports, run_groups(TrainingJob.of_json(config["job"]), config, reports))


def leave(reports: Any, report: TrialReport) -> None:
    """Makes the trial's final report and waits to be stopped.

    Tune ends a function when it returns, even while it is sending a report: the report would be lost, and the trial
    would wait for ever.
    """
    reports.after_report(None, [message(report._replace(final=True))], None)
    threading.Event().wait()


def run_groups(job: TrainingJob, config: dict[str, Any], reports: Any) -> TrialReport:
    """Runs one worker group after another until one ends well, or none will.

    Returns the trial's last report. It is empty where the last group trained to the end, since its workers have
    reported that themselves."""
    policy, failures = RestartPolicy(job.settings.resources.max_restarts), list[Failure]()
    while True:
        try:
            _group(job, config, len(failures), reports).fit()
            return TrialReport([], finished=False, num_parameters=0)
        except Exception as error:
            stored = checkpoint_epochs(Storage(job.study), job.output_folder)
            failures.append(classify(error, progress=max(stored, default=0)))
            decision, text = policy.decide(failures), f"{type(error).__name__}: {error}"
        if isinstance(decision, EndStudy):
            return TrialReport.of_storage_error(decision.error)
        if isinstance(decision, Fail):
            is_ours = failures[-1].cause is Cause.OURS
            return TrialReport.of_failure(decision.why if is_ours else text, restarts=len(failures) - 1)


def _group(job: TrainingJob, config: dict[str, Any], attempt: int, reports: Any) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    resources, storage, name = job.settings.resources, Storage(job.study), f"ray-train-{attempt}"
    storage.full_path(f"{job.output_folder}/{name}")  # refuses a link there, which Ray would follow
    per_worker = {"CPU": resources.cpus_per_worker} | ({"GPU": config["gpus_per_worker"]} if config["use_gpu"] else {})
    return TorchTrainer(
        _train_in_group,
        train_loop_config={"job": job, "use_gpu": config["use_gpu"], "restarts": attempt},
        scaling_config=ScalingConfig(
            num_workers=resources.workers, use_gpu=config["use_gpu"], resources_per_worker=per_worker
        ),
        run_config=RunConfig(
            name=name,
            storage_path=storage.full_path(job.output_folder),
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
