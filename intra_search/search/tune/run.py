"""Runs a work source's assignments on Ray Tune, and brings back the reports of their workers."""

import logging
import os
import tempfile
from collections.abc import Callable

from ray import tune

from intra_search.cluster.capacity import TRIAL_CPUS, Cluster
from intra_search.config.study import StudySettings
from intra_search.errors import IntraSearchError
from intra_search.search.tune.group import group_trial
from intra_search.search.tune.scheduler import WorkScheduler
from intra_search.search.tune.searcher import WorkSearcher, tune_name
from intra_search.search.tune.single import StudentTrainable
from intra_search.search.work import Assignment, WorkSource
from intra_search.training.failures import RestartPolicy
from intra_search.training.job import TrainingJob


def run_trials(
    work: WorkSource, make_job: Callable[[Assignment], TrainingJob], settings: StudySettings, cluster: Cluster
) -> None:
    """Runs the work source's trials on the connected cluster until it hands out no more.

    Args:
        work: decides; every report reaches it in this process.
        make_job: what a worker must know to train an assignment.

    Raises the `StorageError` of a worker that could not write the study, and what the work source itself raises.
    """
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # the ledger and its mirrors log
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # ours finishes the epoch first
    resources = settings.resources
    gpus = cluster.trial_gpus / resources.workers
    if resources.workers > 1:
        # The group's placement group comes on top of what the trial itself holds, and 0 CPU is refused.
        trainable = tune.with_resources(group_trial, {"CPU": TRIAL_CPUS})
    else:
        trainable = tune.with_resources(StudentTrainable, {"CPU": resources.cpus_per_worker, "GPU": gpus})
    # Its summary at the end misses the result files that we switched off.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    scheduler = WorkScheduler(work, RestartPolicy(resources.max_restarts))
    with tempfile.TemporaryDirectory(prefix="intra-search-tune-") as scratch:
        tuner = tune.Tuner(
            trainable,
            param_space={"use_gpu": gpus > 0, "gpus_per_worker": gpus},
            tune_config=tune.TuneConfig(
                search_alg=WorkSearcher(work, make_job, cluster.max_concurrent(settings)),
                scheduler=scheduler,
                num_samples=-1,
                reuse_actors=resources.workers == 1,
                trial_name_creator=tune_name,
                trial_dirname_creator=tune_name,
            ),
            # Nobody reads Tune's own state back: the ledger holds all, so it goes to a folder that is thrown away.
            run_config=tune.RunConfig(
                name="search",
                storage_path=scratch,
                verbose=0,
                # Trainings write their own checkpoints; Tune refuses the option for functions.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False if resources.workers == 1 else None),
                failure_config=tune.FailureConfig(max_failures=-1),  # the scheduler asks `RestartPolicy` after each
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
