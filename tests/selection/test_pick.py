"""Which trial wins, read from made-up ledgers."""

import json
from pathlib import Path
from typing import Any

import pytest

from intra_search.config.objectives import Objectives
from intra_search.config.study_file import parse_study
from intra_search.errors import StudyError
from intra_search.selection.pick import pick, ranked, status
from intra_search.store.artefacts import KnowledgeSpending, Teacher, TeacherRecord
from intra_search.store.ledger import TrialRecord
from intra_search.store.study_folder import StudyFolder
from intra_search.store.trial_state import TrialState

OBJECTIVES = Objectives.of_metrics(["val/miou"])
PLAN = parse_study('[space."distill.affinity.weight"]\nkind = "float"\nlow = 0.0\nhigh = 1.0', "f")


def record(trial: int, state: str, value: float | None, **fields: Any) -> TrialRecord:
    best: dict[str, Any] = {}
    if value is not None:
        path = f"trials/{trial:05d}/gen-1/checkpoint-000002"
        best = {"objectives": {"val/miou": value}, "best_epoch": 2, "best_checkpoint": path, "epochs": 3}
    known: dict[str, Any] = {**best, "device_seconds": 2.5, **fields}
    point = {"distill.affinity.weight": 0.1 * trial}
    return TrialRecord(trial=trial, state=TrialState(state), point=point, origin="point", created="now", **known)


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    folder = StudyFolder(str(tmp_path / "study"))
    folder.begin(PLAN.settings.model_dump(mode="json"), PLAN.space.tables(), "a" * 64)
    return folder


def write(folder: StudyFolder, *records: TrialRecord) -> None:
    for one in records:
        folder.ledger.write(one)


RECORDS = (
    record(0, "done", 0.4),
    record(1, "stopped", 0.9),
    record(2, "done", 0.5),
    record(3, "failed", 0.95),
    record(4, "running", 0.99),
    record(5, "done", 0.5),
    record(6, "waiting", None),
    record(7, "failed", None),
    record(8, "infeasible", None),
    record(9, "stopped", 0.2),
)


def test_ranking_by_hand() -> None:
    """Full budgets first, by value, of equals the one tried first; then stopped, live and failed ones."""
    assert [one.trial for one in ranked(list(RECORDS), OBJECTIVES)] == [2, 5, 0, 1, 9, 4, 3]


def test_every_state_can_be_ranked() -> None:
    records = [record(number, state, 0.1) for number, state in enumerate(TrialState)]
    assert len(ranked(records, OBJECTIVES)) == len(TrialState)


def test_the_pick_is_the_best_finished_one(folder: StudyFolder) -> None:
    write(folder, *RECORDS)
    chosen = pick(folder)
    assert chosen.record.trial == 2
    row = {
        "trial": 2,
        "epoch": 2,
        "objectives": {"val/miou": 0.5},
        "settings": {"distill.affinity.weight": 0.2},
        "checkpoint": folder.storage.full_path("trials/00002/gen-1/checkpoint-000002"),
    }
    assert chosen.as_json() == {**row, "num_parameters": None, "twin": None, "front": [row]}
    json.dumps(chosen.as_json())


def test_without_a_full_budget_the_best_stopped_one_is_picked(folder: StudyFolder) -> None:
    write(folder, *(one for one in RECORDS if one.state != "done"))
    assert pick(folder).record.trial == 1


def test_a_trial_without_a_checkpoint_cannot_be_picked(folder: StudyFolder) -> None:
    write(folder, record(0, "done", 0.9, best_checkpoint=None), record(1, "done", 0.1))
    assert pick(folder).record.trial == 1


def test_nothing_to_pick_yet(folder: StudyFolder) -> None:
    write(folder, record(0, "running", 0.5), record(1, "failed", 0.5))
    with pytest.raises(StudyError, match="must have a finished trial to pick, found none; let the study run on"):
        pick(folder)
    assert status(folder)["best"] is None


def test_status_by_hand(folder: StudyFolder) -> None:
    write(folder, *RECORDS)
    teacher = Teacher(folder="teacher/abc", checkpoint="", score=0.5)
    folder.teacher("teacher/abc").write(TeacherRecord(teacher=teacher, history=[], device_seconds=10.0))
    folder.knowledge_spending.write(KnowledgeSpending(device_seconds=3.25))
    found = status(folder)
    assert found["trials"] == {"waiting": 1, "running": 1, "done": 3, "stopped": 2, "failed": 2, "infeasible": 1}
    assert list(found["trials"]) == ["waiting", "running", "done", "stopped", "failed", "infeasible"]
    assert found["finished"] == 7
    assert found["best"] == pick(folder).as_json()
    assert found["device_seconds"] == {"teacher": 10.0, "knowledge": 3.25, "trials": 25.0}
    assert found["generation"] == 1
    json.dumps(found)


def test_status_refuses_what_is_no_study(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="must exist, found no study there"):
        status(StudyFolder(str(tmp_path)))


def test_status_does_not_hide_a_damaged_record(folder: StudyFolder) -> None:
    folder.storage.write_bytes("trials/00000/record.json", b"{")
    with pytest.raises(StudyError, match="must be a record of this version"):
        status(folder)
