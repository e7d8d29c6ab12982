"""The teacher's training goes on after its worker is lost. The task on the cluster is made up."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray.exceptions

from intra_search.errors import SceneError
from intra_search.training import worker
from intra_search.training.job import TrainingJob, teacher_job
from tests.tiny_study import tiny_settings

Row = dict[str, Any]


@pytest.fixture
def job(roads: Path, tmp_path: Path) -> TrainingJob:
    return teacher_job(str(tmp_path), "teacher/t", 1, tiny_settings(roads, resources={"max_restarts": 3}))


def run(
    job: TrainingJob, attempts: list[Exception | None], monkeypatch: pytest.MonkeyPatch
) -> tuple[list[Row], list[str]]:
    """Each attempt trains one epoch more, then fails with its error; the last one ends."""
    told: list[Row] = []
    notes: list[str] = []
    left = iter(attempts)
    history: list[Row] = []

    def begin(job: TrainingJob, cpus: float, gpus: float) -> Iterator[tuple[list[Row], list[str]]]:
        history.append({"epoch": len(history) + 1})
        yield list(history), []
        error = next(left)
        if error is not None:
            raise error

    monkeypatch.setattr(worker, "_begin_task", begin)
    assert worker.train_alone(job, cpus=1, gpus=0, progress=told.append, note=notes.append) == history
    return told, notes


@pytest.mark.parametrize(
    "error",
    [
        ray.exceptions.WorkerCrashedError(),
        ray.exceptions.OutOfMemoryError("killed by the memory monitor"),
        ray.exceptions.NodeDiedError("its machine is gone"),
        ray.exceptions.ActorDiedError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_lost_worker_of_any_kind_is_replaced(
    job: TrainingJob, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, notes = run(job, [error, error, None], monkeypatch)
    assert [row["epoch"] for row in told] == [1, 2, 3]
    assert len(notes) == 2
    assert notes[0].startswith("teacher: going on from the newest checkpoint after a failure")


def test_it_is_replaced_as_often_as_the_settings_say(job: TrainingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    error = ray.exceptions.NodeDiedError("gone")
    assert len(run(job, [error, error, error, None], monkeypatch)[1]) == 3
    with pytest.raises(ray.exceptions.NodeDiedError):
        run(job, [error] * 4, monkeypatch)


def test_an_error_that_a_user_can_mend_ends_it_at_once(job: TrainingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = SceneError("road.png", "must be whole", "cut", "mend it")
    error = ray.exceptions.RayTaskError("epochs", "Traceback", cause=ours).as_instanceof_cause()
    with pytest.raises(SceneError) as caught:
        run(job, [error, None], monkeypatch)
    assert caught.value is ours


def test_a_cancelled_task_is_not_begun_again(job: TrainingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ray.exceptions.TaskCancelledError):
        run(job, [ray.exceptions.TaskCancelledError(), None], monkeypatch)


def test_an_error_of_who_listens_is_no_failure_of_the_training(
    job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []

    def begin(*_: object) -> Iterator[tuple[list[Row], list[str]]]:
        begun.append(1)
        yield [{"epoch": 1}], []

    def broken(row: Row) -> None:
        raise KeyError("a bug in the terminal")

    monkeypatch.setattr(worker, "_begin_task", begin)
    with pytest.raises(KeyError, match="a bug in the terminal"):
        worker.train_alone(job, cpus=1, gpus=0, progress=broken, note=lambda text: None)
    assert begun == [1]
