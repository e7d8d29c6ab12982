"""Trainings and measurements as Ray tasks. (Trials of one worker run in Tune's own actors, in `search.tune.single`.)"""

from collections.abc import Callable, Iterator
from typing import Any

import ray
import ray.train
import torch

from intra_search.config.objectives import Objectives
from intra_search.config.study import StudySettings
from intra_search.distill.needs import Need
from intra_search.distill.workers import ALONE
from intra_search.errors import SettingError
from intra_search.networks.checkpoint import load_network
from intra_search.networks.placement import place
from intra_search.scenes.scene_set import open_scenes
from intra_search.store.artefacts import Baselines
from intra_search.store.ledger import HistoryRow
from intra_search.store.storage import Storage
from intra_search.training.costs import ViewCosts, measure_costs
from intra_search.training.evaluation import Background, validate
from intra_search.training.failures import DivergedError, Failure, RestartPolicy, classify, restart_or_raise
from intra_search.training.job import TrainingJob
from intra_search.training.loop import Training
from intra_search.training.recipe import network_recipe
from intra_search.training.replicas import current_workers
from intra_search.training.report import TrialReport, message


def train_alone(
    job: TrainingJob, *, cpus: float, gpus: float, progress: Callable[[HistoryRow], None], note: Callable[[str], None]
) -> list[HistoryRow]:
    """Runs one training to its end in one worker; it goes on from its newest checkpoint.

    A task, not an actor: Ray gives its process, with all its imports, to the next task. After a failure
    `RestartPolicy` decides whether another task goes on.

    Args:
        progress: called for every epoch that this call trained; once for the last one where nothing was left.
        note: called with the training's decisions.
    """
    policy, failures = RestartPolicy(job.settings.resources.max_restarts), list[Failure]()
    history: list[HistoryRow] = []
    epochs = _begin_task(job, cpus, gpus)
    while True:
        seen = len(history)
        try:
            history, notes = next(epochs, (history, None))
        except Exception as error:
            failures.append(classify(error, progress=seen))
            why = restart_or_raise(policy, failures, error)
            note(f"{job.purpose}: going on from the newest checkpoint after a failure ({why})")
            epochs = _begin_task(job, cpus, gpus)
            continue
        if notes is None:
            return history
        for text in notes:
            note(f"{job.purpose}: {text}")
        for row in history[max(seen, len(history) - 1) :]:
            progress(row)


def _begin_task(job: TrainingJob, cpus: float, gpus: float) -> Iterator[tuple[list[HistoryRow], list[str] | None]]:
    """Starts one task that trains to the end; yields what `_epochs` does."""
    # No retry by Ray: it would resume a dead task's stream in the middle, and epochs would be lost.
    task = ray.remote(_epochs).options(num_cpus=cpus, num_gpus=gpus, num_returns="streaming", max_retries=0)
    return (ray.get(reference) for reference in task.remote(job, cpus, gpus > 0))


def train_in_group(config: dict[str, Any]) -> None:
    """One worker's part of a trial of several; Ray Train runs it in each process of the group.

    Args: config holds `job`, a `TrainingJob`, `use_gpu`, and `restarts`, the groups before this one.

    Every epoch is reported as `{REPORT: JSON text}` of a `TrialReport`; after a crash of the group it goes on from the
    newest checkpoint. An `IntraSearchError` of one worker is raised, which ends the group: the others would wait
    for it in their next sum.
    """
    training, restarts = Training(config["job"], current_workers(), use_gpu=config["use_gpu"]), config["restarts"]
    try:
        while not training.finished:
            training.run_epoch()
            if not training.finished:
                ray.train.report(message(report_of(training, restarts=restarts)))
        ray.train.report(message(report_of(training, restarts=restarts)))
    except DivergedError as error:
        # All workers agree on it, and it would come again: an ordinary end with the reason.
        ray.train.report(message(report_of(training, failure=str(error), restarts=restarts)))


def report_of(training: Training, failure: str | None = None, restarts: int = 0) -> TrialReport:
    """All that a search wants to know of a training.

    `restarts`: crashes since the trial was handed out that its own processes know of.
    """
    return TrialReport(
        history=training.history,
        finished=failure is not None or training.finished,
        num_parameters=training.num_parameters,
        attempt=training.attempt,
        restarts=restarts,
        notes=tuple(training.notes),
        failure=failure,
    )


def measure_baselines(settings: StudySettings, *, cpus: float, gpus: float) -> Baselines:
    """What a trained student must beat, on `val`."""
    task = ray.remote(_baselines).options(num_cpus=cpus, num_gpus=gpus)
    baselines: Baselines = ray.get(task.remote(settings, cpus, gpus > 0))
    return baselines


def measure_checkpoint(uri: str, checkpoint: str, settings: StudySettings, *, cpus: float, gpus: float) -> float | None:
    """The first objective for a network stored in the study at `uri`, on the study's own `val`."""
    task = ray.remote(_checkpoint_score).options(num_cpus=cpus, num_gpus=gpus)
    score: float | None = ray.get(task.remote(uri, checkpoint, settings, cpus, gpus > 0))
    return score


def _checkpoint_score(uri: str, checkpoint: str, settings: StudySettings, cpus: float, use_gpu: bool) -> float | None:
    torch.set_num_threads(max(1, int(cpus)))
    network, _ = load_network(Storage(uri), checkpoint)
    training = settings.teacher.training
    placement = place(training.amp, use_gpu=use_gpu)
    scenes = open_scenes(settings.scenes, "val")
    network = placement.network(network)
    row = validate(network, scenes, settings, placement, ALONE, batch_size=training.batch_size)
    return Objectives.of(settings).lead.value(row)


def measure_on_cluster(
    uri: str, teacher: str, settings: StudySettings, needs: frozenset[Need], *, cpus: float, gpus: float
) -> ViewCosts:
    """Times a trial's steps in what a trial gets of the cluster; `teacher` is a checkpoint in the study at `uri`."""
    # In a folder of no trial, so there is no checkpoint to resume.
    job = TrainingJob(uri, "timing", 0, "student", settings, settings.seed, teacher=teacher)
    task = ray.remote(_view_costs).options(num_cpus=cpus, num_gpus=gpus)
    return ViewCosts(*ray.get(task.remote(job, needs, cpus, gpus > 0)))


def _view_costs(job: TrainingJob, needs: frozenset[Need], cpus: float, use_gpu: bool) -> ViewCosts:
    torch.set_num_threads(max(1, int(cpus)))
    return measure_costs(job, needs, use_gpu=use_gpu)


def _epochs(job: TrainingJob, cpus: float, use_gpu: bool) -> Iterator[tuple[list[HistoryRow], list[str]]]:
    """Yields the history after each epoch and the notes that are new; once where nothing is left to train."""
    torch.set_num_threads(max(1, int(cpus)))
    training = Training(job, use_gpu=use_gpu)
    notes = training.notes
    if training.finished:
        yield training.history, notes
    while not training.finished:
        try:
            training.run_epoch()
        except DivergedError as error:
            remedy = "start a new study with a lower rate"
            raise SettingError(
                f"{job.purpose}.training.learning_rate", "loss must stay finite", error, remedy
            ) from None
        yield training.history, notes
        notes = []


def _baselines(settings: StudySettings, cpus: float, use_gpu: bool) -> Baselines:
    torch.set_num_threads(max(1, int(cpus)))
    scenes = open_scenes(settings.scenes, "val")
    placement = place(settings.training.amp, use_gpu=use_gpu)
    torch.manual_seed(settings.seed)
    student = placement.network(network_recipe("student", settings, scenes).build())
    background = placement.network(Background(len(scenes.classes)))
    size, lead = settings.training.batch_size, Objectives.of(settings).lead
    rows = [validate(net, scenes, settings, placement, ALONE, batch_size=size) for net in (background, student)]
    return Baselines(background=lead.value(rows[0]), untrained=lead.value(rows[1]))
