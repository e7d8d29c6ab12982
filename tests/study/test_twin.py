"""The pick's plain twin, with training made up."""

from pathlib import Path
from typing import Any

import pytest

from intra_search.config.seeding import derived_seed
from intra_search.config.study_file import StudyPlan, parse_study
from intra_search.report.terminal import twin_text
from intra_search.selection.pick import Twin, pick
from intra_search.store.bundle import write_bundle
from intra_search.store.events import Event, TwinEpoch
from intra_search.store.ledger import TrialRecord
from intra_search.store.study_folder import StudyFolder
from intra_search.store.trial_state import TrialState
from intra_search.study import twin
from intra_search.study.context import StudyContext
from intra_search.training import worker
from intra_search.training.job import TrainingJob
from tests.study.contexts import CLUSTER

PLAN = parse_study(
    "[search]\nnum_trials = 3\n[training]\nepochs = 2\n"
    '[space."distill.enabled"]\nkind = "choice"\nvalues = [true, false]\n'
    '[space."training.learning_rate"]\nkind = "choice"\nvalues = [0.01, 0.02]\n',
    "f",
)
HISTORY = [{"epoch": 1, "val/miou": 0.25, "seconds": 2.0}, {"epoch": 2, "val/miou": 0.2, "seconds": 2.0}]


def record(trial: int, value: float, *, distilled: bool, state: str = "done") -> TrialRecord:
    return TrialRecord(
        trial=trial,
        state=TrialState(state),
        point={"distill.enabled": distilled, "training.learning_rate": 0.02},
        origin="point",
        created="now",
        objectives={"val/miou": value},
        best_epoch=1,
        best_checkpoint="c",
        device_seconds=3.0,
    )


class Study:
    """A study with trials, and the jobs that its twins were trained with."""

    def __init__(self, folder: StudyFolder, plan: StudyPlan, *records: TrialRecord) -> None:
        self.folder, self.plan = folder, plan
        self.events: list[Event] = []
        for one in records:
            folder.ledger.write(one)

    def context(self) -> StudyContext:
        return StudyContext(self.folder, self.plan, 1, "f" * 64, CLUSTER, self.events.append)


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    folder = StudyFolder(str(tmp_path / "study"))
    folder.begin(PLAN.settings.model_dump(mode="json"), PLAN.space.tables(), "f" * 64)
    return folder


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[TrainingJob]:
    """Jobs that were trained; each leaves a checkpoint of its first epoch."""
    trained: list[TrainingJob] = []

    def train(job: TrainingJob, *, progress: Any, **_: object) -> list[dict[str, Any]]:
        trained.append(job)
        progress(HISTORY[0])
        write_bundle(StudyFolder(job.study).storage, f"{job.output_folder}/checkpoint-000001", {"x": b""}, {})
        return HISTORY

    monkeypatch.setattr(worker, "train_alone", train)
    return trained


def test_a_twin_has_the_picks_settings_and_seed_without_distillation(
    folder: StudyFolder, jobs: list[TrainingJob]
) -> None:
    records = record(0, 0.1, distilled=False), record(1, 0.3, distilled=True), record(2, 0.2, distilled=True)
    study = Study(folder, PLAN, *records)
    assert twin.is_missing(folder, PLAN)
    made = twin.ensure(study.context())
    assert made is not None
    (job,) = jobs
    assert job.seed == derived_seed(PLAN.settings.seed, "student", 1)
    assert (job.settings.distill.enabled, job.settings.training.learning_rate) == (False, 0.02)
    assert (job.knowledge, job.teacher) == (None, None)
    assert [event for event in study.events if isinstance(event, TwinEpoch)] == [TwinEpoch(1, HISTORY[0], 2)]
    # Stored, shown, paid for, and not made again.
    assert not twin.is_missing(folder, PLAN)
    assert twin.ensure(study.context()) == made
    assert len(jobs) == 1
    shown = pick(folder).twin
    assert shown is not None
    assert shown.gain == pytest.approx(0.05)
    where = folder.storage.full_path("twins/00001/gen-1/checkpoint-000001")
    assert shown._replace(gain=0.0) == Twin(0.25, 1, 0.0, where)
    assert pick(folder).as_json()["twin"]["value"] == 0.25
    assert folder.device_seconds(records)["trials"] == 3 * 3.0 + 4.0


def test_a_new_pick_gets_a_twin_of_its_own(folder: StudyFolder, jobs: list[TrainingJob]) -> None:
    study = Study(folder, PLAN, record(0, 0.3, distilled=True))
    twin.ensure(study.context())
    folder.ledger.write(record(1, 0.4, distilled=True))
    assert pick(folder).twin is None
    assert twin.is_missing(folder, PLAN)
    twin.ensure(study.context())
    assert [job.folder for job in jobs] == ["twins/00000", "twins/00001"]


@pytest.mark.parametrize("reason", ["plain pick", "switched off", "one trial", "no finished trial"])
def test_nothing_is_trained_where_there_is_nothing_to_compare(
    folder: StudyFolder, jobs: list[TrainingJob], reason: str
) -> None:
    plan = PLAN.with_defaults({"search.twin": False}) if reason == "switched off" else PLAN
    if reason == "one trial":
        plan = parse_study("", "f")
    state = "running" if reason == "no finished trial" else "done"
    study = Study(folder, plan, record(0, 0.3, distilled=reason != "plain pick", state=state))
    assert not twin.is_missing(folder, plan)
    assert twin.ensure(study.context()) is None
    assert not jobs


def test_the_text_says_gains_and_losses_alike() -> None:
    assert (
        twin_text(Twin(0.231, 3, 0.024, "c")) == "its plain twin 0.2310: distillation is worth +0.0240 here (one seed)"
    )
    assert "distillation is worth -0.0100 here" in twin_text(Twin(0.231, 3, -0.01, "c"))
