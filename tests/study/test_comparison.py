"""The teacher beside the plain student: settled once, by the trials of the search, and remembered."""

from collections.abc import Callable
from pathlib import Path

import pytest

from intra_search.config.study_file import StudyPlan, parse_study
from intra_search.errors import StudyError
from intra_search.search.work import Assignment
from intra_search.store.artefacts import Baselines, Teacher
from intra_search.store.events import TrialReported
from intra_search.store.ledger import HistoryRow, TrialRecord
from intra_search.store.study_folder import StudyFolder
from intra_search.store.trial_state import TrialState
from intra_search.study.comparison import TeacherComparison
from intra_search.study.plain_student import PlainStudent
from tests.search.test_conductor import Driver
from tests.study.contexts import Notes

STUDY = """
[training]
epochs = 3
[search]
num_trials = 4
sampler = "random"
[search.halving]
enabled = false
[space."distill.enabled"]
kind = "choice"
values = [true, false]
[[points]]
"distill.enabled" = false
"""
TEACHER = "teacher/abc"


class CheckedDriver(Driver):
    """A driver with a comparison. `values` gives a trial's val/miou after an epoch; plain is trial 1."""

    def __init__(self, folder: StudyFolder, plan: StudyPlan, teacher: float, monkeypatch: pytest.MonkeyPatch) -> None:
        self.notes = Notes()
        folder.baselines.write(Baselines(background=0.1, untrained=0.0))
        self.comparison = TeacherComparison(folder, plan, self.notes, lambda: self.conductor.drain())
        super().__init__(folder, plan, self.comparison, slots=1)
        given = Teacher(folder=TEACHER, checkpoint="", score=teacher)
        self.comparison.begin(given, self.conductor.records.values(), self.conductor.histories, self.train_plain)

    plain_student: PlainStudent | None = None

    def train_plain(self) -> PlainStudent | None:
        return self.plain_student

    def run_all(self) -> None:
        while self.workers or self.start_one():
            self.step_one(next(iter(self.workers)))
        self.comparison.finish(self.conductor.records.values())

    def states(self) -> list[str]:
        return [record.state for _, record in sorted(self.conductor.records.items())]


Start = Callable[..., CheckedDriver]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Starts a driver on one study: `plain` are the values of trials without distillation, others have 0.9."""

    def started(teacher: float, plain: list[float], *overrides: str) -> CheckedDriver:
        def score(assignment: Assignment, epoch: int) -> float:
            return 0.9 if assignment.settings.distill.enabled else plain[epoch - 1]

        monkeypatch.setattr("tests.search.test_conductor.score", score)
        plan = parse_study(STUDY, "f", overrides)
        return CheckedDriver(StudyFolder(str(tmp_path / "study")), plan, teacher, monkeypatch)

    return started


def test_a_better_teacher_is_recorded_when_a_plain_trial_has_ended(start: Start) -> None:
    driver = start(0.5, [0.2, 0.4, 0.3])
    driver.run_all()
    assert driver.states() == ["done"] * 4
    found = driver.folder.storage.read_json(f"{TEACHER}/comparison.json")
    assert found == {"teacher": 0.5, "plain": 0.4, "trial": 1, "epochs": 3, "better": True}
    text = "val/miou 0.5000 beside 0.4000 of trial 1 without distillation after 3 epochs"
    assert driver.notes == [f"the teacher is better than the plain student: {text}"]


@pytest.mark.parametrize(("teacher", "said"), [(0.4199, True), (0.4201, False)])
def test_a_lead_below_two_points_is_said_with_what_to_do(start: Start, teacher: float, said: bool) -> None:
    driver = start(teacher, [0.2, 0.4, 0.3])
    driver.run_all()
    told = [note for note in driver.notes if "small lead" in note]
    assert len(told) == said
    if said:
        assert "+0.0199" in told[0]
        assert "train the teacher longer, on more scenes" in told[0]


def test_a_weak_teacher_stops_the_search_at_once_and_again(start: Start) -> None:
    """Trial 1 reaches the teacher in its second epoch; trials 2 and 3 are not begun."""
    driver = start(0.5, [0.2, 0.5, 0.3])
    with pytest.raises(StudyError) as caught:
        driver.run_all()
    text = str(caught.value)
    assert "found val/miou 0.5000 beside 0.5000 of trial 1 without distillation after 2 epochs" in text
    assert text.endswith("or go on with --set teacher.allow_weak=true")
    assert "\n" not in text
    assert driver.states() == ["done", "waiting"]
    with pytest.raises(StudyError, match="after 2 epochs"):
        start(0.5, [0.2, 0.5, 0.3])


def test_an_allowed_weak_teacher_goes_on_from_there_and_says_so(start: Start) -> None:
    with pytest.raises(StudyError):
        start(0.5, [0.2, 0.5, 0.3]).run_all()
    driver = start(0.5, [0.2, 0.5, 0.3], "teacher.allow_weak=true")
    assert driver.notes[0].endswith("after 2 epochs; going on, as teacher.allow_weak says")
    driver.run_all()
    assert driver.states() == ["done"] * 4
    assert driver.conductor.records[1].restarts == 1


def test_what_is_settled_stays_settled(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later plain trial above the teacher stops nothing."""
    driver = start(0.5, [0.2, 0.4, 0.3], "search.num_trials=2")
    driver.run_all()
    later = start(0.5, [0.6, 0.6, 0.6], "search.num_trials=12")
    later.run_all()
    assert later.states() == ["done"] * 12
    values = [record.objectives["val/miou"] for record in later.conductor.records.values()]
    assert 0.6 in values
    assert later.folder.storage.read_json(f"{TEACHER}/comparison.json")["plain"] == 0.4


def test_a_driver_killed_before_the_comparison_finds_it_in_the_ledger(start: Start) -> None:
    driver = start(0.5, [0.2, 0.4, 0.3], "search.num_trials=2")
    driver.run_all()
    driver.folder.storage.delete(f"{TEACHER}/comparison.json")
    assert "0.4000 of trial 1" in start(0.5, [0.2, 0.4, 0.3], "search.num_trials=3").notes[0]
    driver.folder.storage.delete(f"{TEACHER}/comparison.json")
    with pytest.raises(StudyError, match=r"found val/miou 0.3000 beside 0.4000 of trial 1"):
        start(0.3, [0.2, 0.4, 0.3], "search.num_trials=3")


def test_below_background_it_answers_nothing(start: Start) -> None:
    with pytest.raises(StudyError, match=r"found val/miou 0.1000 beside 0.1000 of predicting background only"):
        start(0.1, [0.0] * 3)
    driver = start(0.1, [0.0] * 3, "teacher.allow_weak=true", "search.num_trials=2")
    assert "going on" in driver.notes[0]
    driver.run_all()
    settled = driver.folder.storage.read_bytes(f"{TEACHER}/comparison.json")
    start(0.1, [0.5] * 3, "teacher.allow_weak=true", "search.num_trials=12").run_all()
    assert driver.folder.storage.read_bytes(f"{TEACHER}/comparison.json") == settled


def test_when_nothing_is_left_to_stop_it_is_said_and_no_error(start: Start) -> None:
    driver = start(0.5, [0.2, 0.3, 0.7], "search.num_trials=2")
    driver.run_all()
    assert driver.states() == ["done", "done"]
    assert "not better" in driver.notes[0]


def test_a_search_without_a_plain_trial_says_that_nothing_was_compared(start: Start) -> None:
    driver = start(0.5, [0.2] * 3, "search.num_trials=1")
    driver.run_all()
    text = "no trial without distillation was trained to the end, so none was compared with the teacher"
    assert driver.notes == [f"{text} (val/miou 0.5000)"]


def test_values_that_are_no_numbers_settle_nothing(start: Start) -> None:
    driver = start(0.5, [0.2, 0.4, 0.3])
    running = TrialState.RUNNING
    record = TrialRecord(trial=9, state=running, point={"distill.enabled": False}, origin="point", created="")
    history: list[HistoryRow] = [{"epoch": 1, "val/miou": None, "seconds": 1.0}]
    driver.comparison(TrialReported(record, history))
    assert driver.notes == []


def test_a_plain_student_of_its_own_settles_it_before_any_trial(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CheckedDriver, "plain_student", PlainStudent(0.45, 3))
    driver = start(0.5, [0.9] * 3)
    text = "val/miou 0.5000 beside 0.4500 of the base settings without distillation after 3 epochs"
    assert driver.notes == [f"the teacher is better than the plain student: {text}"]
    driver.run_all()
    assert driver.states() == ["done"] * 4
    driver.folder.storage.delete(f"{TEACHER}/comparison.json")
    with pytest.raises(StudyError, match=r"0\.4000 beside 0\.4500 of the base settings"):
        start(0.4, [0.9] * 3)


def test_a_teacher_below_background_costs_no_plain_student(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(self: CheckedDriver) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr(CheckedDriver, "train_plain", train)
    with pytest.raises(StudyError, match="background only"):
        start(0.05, [0.9] * 3)
