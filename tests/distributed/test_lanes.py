"""Two workers learn lanes and validate by a benchmark's own metric as one does."""

from pathlib import Path

import pytest
import torch
from torch import nn

from intra_search.config.study import StudySettings
from intra_search.distill.workers import ALONE, Workers
from intra_search.networks.placement import place
from intra_search.scenes.scene_set import open_scenes
from intra_search.scenes.writers.formats import draw_data_set, draw_order
from intra_search.store.ledger import HistoryRow
from intra_search.training.evaluation import validate
from intra_search.training.job import student_job
from intra_search.training.loop import Training
from intra_search.training.recipe import network_recipe
from intra_search.training.replicas import current_workers
from tests.distributed.two_processes import run_in_two
from tests.small_benchmarks import METRICS, SIZES
from tests.tiny_study import tiny_settings

UNTIMED = ("seconds", "train_seconds")


def settings_of(root: Path, name: str) -> StudySettings:
    return tiny_settings(
        root,
        scenes={"dataset": name, "root": str(root / name)},
        training={"epochs": 1, "batch_size": 2, "optimizer": "sgd"},
        search={"objectives": [METRICS[name]]},
        distill={"enabled": False},
    )


def rows(root: Path, study: Path, workers: Workers) -> list[HistoryRow]:
    """One epoch on CULane; untrained weights validated on the other two."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    try:
        job = student_job(str(study), 0, "trials/00000", 1, settings_of(root, "culane"), knowledge=None, teacher="")
        training = Training(job, workers)
        for module in training.network.modules():
            if isinstance(module, nn.Dropout | nn.Dropout2d):
                module.p = 0.0  # each worker would draw its own
        return [training.run_epoch(), *(validated(root, name, workers) for name in ("apolloscape", "llamas"))]
    finally:
        torch.set_default_dtype(torch.float32)


def validated(root: Path, name: str, workers: Workers) -> HistoryRow:
    settings = settings_of(root, name)
    scenes = open_scenes(settings.scenes, "val")
    torch.manual_seed(1)
    network = network_recipe("student", settings, scenes).build()
    return {**validate(network, scenes, settings, place("off", use_gpu=False), workers, batch_size=2)}


def on_worker(rank: int, root: Path, study: Path) -> list[HistoryRow]:
    assert current_workers().rank == rank
    return rows(root, study, current_workers())


def test_two_workers_equal_one(tmp_path: Path) -> None:
    for name, size in SIZES.items():
        draw_data_set(tmp_path / name, name, draw_order(name, 10, 0, *size))
    alone = rows(tmp_path, tmp_path / "one", ALONE)
    first, second = run_in_two(on_worker, tmp_path, tmp_path, tmp_path / "two")
    for mine, other, expected in zip(first, second, alone, strict=True):
        for key in set(expected) - set(UNTIMED):
            assert mine[key] == other[key], key
            wanted = expected[key]
            assert mine[key] == (None if wanted is None else pytest.approx(wanted, rel=1e-5, nan_ok=True)), key
    assert alone[0]["train/existence"] > 0
    assert {"val/f1", "val/official_miou", "val/mean_ap"} <= {key for row in alone for key in row}
