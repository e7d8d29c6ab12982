"""Trainings as Ray actors. (One-worker trials run in Tune's own actors instead, in `search.tuner`.)"""

from collections.abc import Callable
from typing import Any, NamedTuple

import ray
import torch

from intra_search.config.settings import StudySettings
from intra_search.metrics.segmentation import segmentation_scores
from intra_search.networks.build import build_network
from intra_search.networks.placement import place
from intra_search.scenes.scene_set import open_scenes
from intra_search.store.ledger import HistoryRow
from intra_search.training.batches import evaluation_loader
from intra_search.training.evaluation import background_scores, confusion
from intra_search.training.job import TrainingJob
from intra_search.training.loop import Training
from intra_search.training.world import ALONE


class Baselines(NamedTuple):
    """val/miou of two networks that learned nothing."""

    background: float
    """Predicts class 0 everywhere."""
    untrained: float
    """The student of trial 0 with its initial weights."""


def train_alone(
    job: TrainingJob, *, cpus: float, gpus: float, progress: Callable[[HistoryRow], None]
) -> list[HistoryRow]:
    """Runs one training to its end in an actor of its own; it goes on from its newest checkpoint.

    `progress` is called for every epoch that this call trained.
    """
    actor = ray.remote(_TrainingActor).options(num_cpus=cpus, num_gpus=gpus).remote(job, cpus, gpus > 0)
    try:
        finished = ray.get(actor.finished.remote())
        while not finished:
            row, finished = ray.get(actor.run_epoch.remote())
            progress(row)
        return list(ray.get(actor.history.remote()))
    finally:
        ray.kill(actor)


def measure_baselines(settings: StudySettings, *, cpus: float, gpus: float) -> Baselines:
    """What a trained student must beat, on `val`."""
    task = ray.remote(_baselines).options(num_cpus=cpus, num_gpus=gpus)
    return Baselines(*ray.get(task.remote(settings, cpus, gpus > 0)))


class _TrainingActor:
    def __init__(self, job: TrainingJob, cpus: float, use_gpu: bool) -> None:
        torch.set_num_threads(max(1, int(cpus)))
        self._training = Training(job, use_gpu=use_gpu)

    def finished(self) -> bool:
        return self._training.finished

    def history(self) -> list[HistoryRow]:
        return self._training.history

    def run_epoch(self) -> tuple[HistoryRow, bool]:
        return self._training.run_epoch(), self._training.finished


def _baselines(settings: StudySettings, cpus: float, use_gpu: bool) -> Baselines:
    torch.set_num_threads(max(1, int(cpus)))
    scenes = open_scenes(settings.scenes, "val")
    size = settings.training.batch_size
    loader = evaluation_loader(scenes, size, ALONE, num_processes=0, pin=False)
    num_classes = len(scenes.classes)
    torch.manual_seed(settings.seed)
    student: Any = build_network(settings.student.network, num_classes, **settings.student.options())
    placement = place(settings.training.amp, use_gpu=use_gpu)
    total = confusion(placement.network(student), loader, num_classes, placement, ALONE)
    background = background_scores(loader, num_classes).miou
    return Baselines(background, segmentation_scores(total.cpu()).miou)
