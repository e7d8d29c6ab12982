"""Groups of workers inside a trial, with the groups made up: how often they are tried, and how the trial leaves."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from intra_search.errors import SceneError, StorageError
from intra_search.search.tune import group
from intra_search.training.report import REPORT, TrialReport


class WorkerGroupError(Exception):
    """What Ray Train raises for a group whose two workers raised."""

    def __init__(self, text: str) -> None:
        super().__init__(f"Training failed: {text}")
        self.worker_failures = {0: ValueError(text), 1: ValueError(text)}


class ControllerError(Exception):
    """What Ray Train raises for a group that could not be started."""


def run(monkeypatch: pytest.MonkeyPatch, folder: Any, errors: list[Exception | None]) -> tuple[int, TrialReport]:
    """How many groups were tried, and what is left to report."""
    tried: list[int] = []

    def made(job: Any, config: dict[str, Any], attempt: int, reports: Any) -> Any:
        def fit() -> None:
            tried.append(attempt)
            if (error := errors[attempt]) is not None:
                raise error

        return SimpleNamespace(fit=fit)

    settings = SimpleNamespace(resources=SimpleNamespace(max_restarts=8))
    job: Any = SimpleNamespace(settings=settings, study=str(folder), output_folder="trials/00000/gen-1")
    monkeypatch.setattr(group, "_group", made)
    report = group.run_groups(job, {}, None)
    assert tried == list(range(len(tried)))
    return len(tried), report


@pytest.mark.parametrize(
    ("errors", "attempts"),
    [
        ([WorkerGroupError("bad point")] * 9, 2),  # the same error twice, and nothing stored between
        ([WorkerGroupError(f"lost {number}") for number in range(9)], 9),
        ([ControllerError("no machine within 60 s")] * 9, 9),  # one may come yet
        ([SceneError("road.png", "must be whole", "cut", "mend it")], 1),
    ],
)
def test_an_error_that_would_come_again_is_not_tried_eight_times(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, errors: list[Exception | None], attempts: int
) -> None:
    tried, report = run(monkeypatch, tmp_path, errors)
    assert tried == attempts
    assert str(errors[attempts - 1]) in (report.failure or "")
    assert (report.finished, report.restarts) == (True, attempts - 1)


def test_a_group_that_ends_well_has_reported_its_end_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    tried, report = run(monkeypatch, tmp_path, [WorkerGroupError("once"), None])
    assert tried == 2
    assert report == TrialReport([], finished=False, num_parameters=0)


def test_a_study_that_cannot_be_written_ends_the_trial_as_such(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    error = StorageError("/study", "needs space", "none left on the device", "free some")
    tried, report = run(monkeypatch, tmp_path, [error])
    assert tried == 1
    assert report.storage_error == error.args


def test_a_checkpoint_between_two_equal_errors_lets_the_trial_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    errors: list[Exception | None] = [WorkerGroupError("bad moment"), WorkerGroupError("bad moment"), None]
    epochs = iter([3, 4])
    monkeypatch.setattr(group, "checkpoint_epochs", lambda *_: [next(epochs)])
    assert run(monkeypatch, tmp_path, errors)[0] == 3


def test_the_final_report_comes_before_the_function_ends() -> None:
    """Tune takes a function that has returned for finished, and what is then under way is lost."""
    sent: list[dict[str, Any]] = []
    reports = SimpleNamespace(after_report=lambda context, metrics, checkpoint: sent.extend(metrics))
    leaving = threading.Thread(target=group.leave, args=(reports, TrialReport.of_failure("the end")), daemon=True)
    leaving.start()
    leaving.join(0.5)
    assert [TrialReport.of_json(one[REPORT]) for one in sent] == [
        TrialReport.of_failure("the end")._replace(final=True)
    ]
    assert leaving.is_alive()
