"""What travels between processes comes back as it was."""

import json
from pathlib import Path

from intra_search.errors import StorageError
from intra_search.training.job import TrainingJob, student_job
from intra_search.training.report import REPORT, TrialReport, message
from tests.tiny_study import tiny_settings


def test_a_job_travels_whole(roads: Path) -> None:
    settings = tiny_settings(roads, distill={"layers": [["block2", "block3"]], "affinity": {"orders": [1, 3]}})
    job = student_job("s3://b/study", 7, "trials/00007", 3, settings, knowledge=None, teacher="teacher/t/checkpoint")
    back = TrainingJob.of_json(job.to_json())
    assert back == job
    assert back.settings.distill.layers == (("block2", "block3"),)
    assert json.loads(job.to_json())["teacher"] == "teacher/t/checkpoint"


def test_a_report_travels_whole() -> None:
    row = {"epoch": 1, "val/miou": 0.5, "val/iou/arrow": None}
    for report in (
        TrialReport([row], finished=True, num_parameters=9, attempt="ab", restarts=2, notes=("a", "b"), failure="no"),
        TrialReport([], finished=False, num_parameters=0, final=True),
        TrialReport.of_failure("no knowledge", restarts=1),
        TrialReport.of_storage_error(StorageError("/x", "needs space", "none", "free some")),
    ):
        back = TrialReport.of_json(message(report)[REPORT])
        assert back == report
        assert isinstance(back.notes, tuple)


def test_a_storage_error_can_be_raised_again() -> None:
    error = StorageError("/x", "needs space", "none", "free some")
    parts = TrialReport.of_json(TrialReport.of_storage_error(error).to_json()).storage_error
    assert parts is not None
    assert str(StorageError(*parts)) == str(error)
