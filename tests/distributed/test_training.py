"""Two workers compute what one does: losses and weights over 20 steps, with unequal regions per worker.

Computed in float64: two workers sum in another order, and in float32 that difference grows to 1e-4 within 20 steps.
"""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from intra_search.config.parsing import with_overrides
from intra_search.config.study import StudySettings
from intra_search.distill.loss import StudentLossResult
from intra_search.distill.workers import ALONE, Workers
from intra_search.store.ledger import HistoryRow, checkpoint_name
from intra_search.training.batches import Batch
from intra_search.training.job import TrainingJob, student_job, teacher_job
from intra_search.training.loop import Training
from intra_search.training.replicas import current_workers
from tests.distributed.two_processes import run_in_two
from tests.tiny_study import tiny_settings, write_roads

NUM_SCENES = 60
STEPS = 20


def settings_of(root: Path) -> StudySettings:
    return tiny_settings(
        root,
        scenes={"val_groups": ["drive0"], "test_groups": ["drive1"]},
        training={"epochs": 1, "batch_size": 2, "learning_rate": 1e-4, "optimizer": "sgd"},
        knowledge={"mode": "live"},
        distill={
            "balance_every": 3,
            "affinity": {"start": 0.25, "ramp": 0.25},
            "fitnet": {"weight": 0.1, "start": 0.5},
        },
    )


def job_of(root: Path, study: Path) -> TrainingJob:
    teacher = f"teacher/t/gen-1/{checkpoint_name(1)}"
    return student_job(str(study), 0, "trials/00000", 1, settings_of(root), knowledge=None, teacher=teacher)


class Run(NamedTuple):
    curve: list[dict[str, float]]
    """Every step's loss and terms, of the global batch."""
    gradients: list[Tensor]
    """Every step's whole gradient as the optimizer took it, network and adapters."""
    row: HistoryRow
    weights: dict[str, Tensor]


def one_epoch(job: TrainingJob, workers: Workers) -> Run:
    torch.set_default_dtype(torch.float64)
    try:
        return _one_epoch(job, workers)
    finally:
        torch.set_default_dtype(torch.float32)


def _one_epoch(job: TrainingJob, workers: Workers) -> Run:
    training = Training(job, workers)
    curve, gradients = [], []
    train_step = training._train_step

    def noted_step(batch: Batch, progress: float) -> StudentLossResult:
        result = train_step(batch, progress)
        shares = {**result.parts, "loss": result.loss.detach() / workers.size}
        gradients.append(
            torch.cat([weight.grad.flatten() for weight in training._step.parameters() if weight.grad is not None])
        )
        curve.append({name: float(workers.all_reduce(share.clone())) for name, share in shares.items()})
        return result

    training._train_step = noted_step  # type: ignore[method-assign]
    for module in training.network.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0  # each worker would draw its own
    row = training.run_epoch()
    return Run(curve, gradients, row, training.network.state_dict())


def on_worker(rank: int, root: Path, study: Path) -> Run:
    workers = current_workers()
    assert (workers.rank, workers.size) == (rank, 2)
    return one_epoch(job_of(root, study), workers)


@pytest.fixture(scope="module")
def roads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every third scene holds no marking at all: with one image per worker and step, a worker often has no region."""
    import cv2
    import numpy as np

    root = tmp_path_factory.mktemp("roads")
    write_roads(root, NUM_SCENES - 16)
    for mask in sorted((root / "masks").iterdir())[::3]:
        cv2.imwrite(str(mask), np.full_like(cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE), 255))
    return root


def test_two_workers_equal_one_over_20_steps(roads: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        Training(teacher_job(str(tmp_path / name), "teacher/t", 1, settings_of(roads))).run_epoch()
    alone = one_epoch(job_of(roads, tmp_path / "one"), ALONE)
    first, second = run_in_two(on_worker, tmp_path, roads, tmp_path / "two")
    assert len(alone.curve) == STEPS
    assert min(step.get("affinity", 1.0) for step in alone.curve) == 0  # no region on any worker
    assert ["fitnet" in step for step in alone.curve] == [False] * (STEPS // 2) + [True] * (STEPS // 2)
    for mine, theirs in zip(first.curve, alone.curve, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-5)  # the teacher answers in float32
    for own, wanted in zip(first.gradients, alone.gradients, strict=True):
        assert (own - wanted).norm() <= 1e-5 * wanted.norm()
    assert second.curve == first.curve
    assert first.row["val/miou"] == alone.row["val/miou"]
    assert_close(second.weights, first.weights, rtol=0, atol=0)
    assert_close(first.weights, alone.weights, rtol=1e-4, atol=1e-6)
    assert Path(tmp_path / "two/trials/00000/gen-1" / checkpoint_name(1)).exists()


def one_compiled_epoch(rank: int, root: Path, study: Path) -> list[Run]:
    """Without and with `training.compile`, over two workers."""
    runs = []
    for compiled in (False, True):
        job = job_of(root, study)
        settings = with_overrides(job.settings, {"training.compile": compiled, "distill.attention.weight": 0.0})
        folder = f"compiled-{compiled}"
        runs.append(_one_epoch(job._replace(settings=settings, folder=folder), current_workers()))
    return runs


def test_two_workers_train_a_compiled_network_as_a_plain_one(roads: Path, tmp_path: Path) -> None:
    Training(teacher_job(str(tmp_path), "teacher/t", 1, settings_of(roads))).run_epoch()
    first, second = run_in_two(one_compiled_epoch, tmp_path, roads, tmp_path)
    plain, compiled = first
    for mine, theirs in zip(compiled.curve, plain.curve, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3, abs=1e-5)
    assert second[1].curve == compiled.curve
    assert list(compiled.weights) == list(plain.weights)
    assert_close(compiled.weights, second[1].weights, rtol=0, atol=0)


def job_with_frames(root: Path, study: Path) -> TrainingJob:
    job = job_of(root, study)
    changes = {
        "scenes.unlabelled": ["synthetic:5"],
        "scenes.pseudo_labels": 0.4,
        "training.batch_size": 8,
        "scenes.unlabelled_share": 0.6,
    }
    return job._replace(settings=with_overrides(job.settings, changes))


def on_worker_with_frames(rank: int, root: Path, study: Path) -> Run:
    return one_epoch(job_with_frames(root, study), current_workers())


def test_two_workers_equal_one_with_frames_without_labels(roads: Path, tmp_path: Path) -> None:
    """Three of eight frames of a step have labels, so the workers hold different numbers of them."""
    for name in ("one", "two"):
        Training(teacher_job(str(tmp_path / name), "teacher/t", 1, settings_of(roads))).run_epoch()
    alone = one_epoch(job_with_frames(roads, tmp_path / "one"), ALONE)
    first, second = run_in_two(on_worker_with_frames, tmp_path, roads, tmp_path / "two")
    for mine, theirs in zip(first.curve, alone.curve, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-5)
    for own, wanted in zip(first.gradients, alone.gradients, strict=True):
        assert (own - wanted).norm() <= 1e-5 * wanted.norm()
    assert second.curve == first.curve
