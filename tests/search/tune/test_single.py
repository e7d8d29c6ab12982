"""One worker's trials in Tune's actor, with the training made up: what each kind of failure is reported as."""

from pathlib import Path
from typing import Any

import pytest

from intra_search.errors import SceneError, StorageError
from intra_search.search.tune.single import StudentTrainable
from intra_search.training import loop
from intra_search.training.failures import DivergedError
from intra_search.training.job import student_job
from intra_search.training.report import REPORT, TrialReport
from tests.tiny_study import tiny_settings

EPOCHS = 3


class MadeUpTraining:
    """Goes on from the epochs of earlier ones, as a real one does from its checkpoint; fails as told."""

    stored: list[dict[str, Any]]
    errors: list[Exception | None]
    made = 0

    def __init__(self, job: Any, use_gpu: bool) -> None:
        type(self).made += 1
        self.history = [*self.stored]
        self.notes: list[str] = []
        self.attempt = f"attempt {self.made}"
        self.num_parameters = 5

    @property
    def finished(self) -> bool:
        return len(self.history) >= EPOCHS

    def run_epoch(self) -> None:
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        self.history.append({"epoch": len(self.history) + 1})
        self.stored.append(self.history[-1])


def steps(roads: Path, errors: list[Exception | None], monkeypatch: pytest.MonkeyPatch) -> list[TrialReport]:
    """The reports of one trial until it says that it is done."""
    monkeypatch.setattr(MadeUpTraining, "stored", [], raising=False)
    monkeypatch.setattr(MadeUpTraining, "errors", list(errors), raising=False)
    monkeypatch.setattr(MadeUpTraining, "made", 0)
    monkeypatch.setattr(loop, "Training", MadeUpTraining)
    settings = tiny_settings(roads, resources={"max_restarts": 3})
    job = student_job("study", 0, "trials/00000", 1, settings, knowledge=None, teacher="")
    trainable = StudentTrainable.__new__(StudentTrainable)
    trainable.reset_config({"job": job.to_json(), "use_gpu": False})
    reports = []
    while True:
        result = trainable.step()
        reports.append(TrialReport.of_json(result[REPORT]))
        if result["done"]:
            return reports


def test_without_a_failure_each_epoch_is_reported(roads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = steps(roads, [], monkeypatch)
    assert [len(report.history) for report in reports] == [1, 2, 3]
    assert [report.finished for report in reports] == [False, False, True]
    assert {report.attempt for report in reports} == {"attempt 1"}


def test_an_unknown_error_is_tried_again_from_the_checkpoint(roads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = steps(roads, [None, ValueError("a bad moment")], monkeypatch)
    assert [len(report.history) for report in reports] == [1, 2, 3]
    assert reports[-1].failure is None
    assert reports[-1].attempt == "attempt 2"
    assert [report.restarts for report in reports] == [0, 1, 1]


def test_the_same_error_twice_fails_the_trial_with_its_traceback(roads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (report,) = steps(roads, [ValueError("a bug"), ValueError("a bug")], monkeypatch)
    assert report.finished
    assert report.failure is not None
    assert report.failure.startswith("Traceback")
    assert report.failure.strip().endswith("ValueError: a bug")


@pytest.mark.parametrize(
    "error", [SceneError("road.png", "must be whole", "cut", "mend it"), DivergedError("train/loss is not finite")]
)
def test_what_would_come_again_fails_at_once(roads: Path, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = steps(roads, [None, error], monkeypatch)
    assert [report.failure for report in reports] == [None, str(error)]
    assert len(reports[-1].history) == 1
    assert MadeUpTraining.made == 1


def test_a_study_that_cannot_be_written_is_reported_as_such(roads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = StorageError("/study", "needs space", "none left on the device", "free some")
    (report,) = steps(roads, [error], monkeypatch)
    assert report.failure is None
    assert report.storage_error == error.args
