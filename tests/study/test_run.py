"""The order of a driver's steps, who is told first, and where an interrupted study is left. The steps are made up."""

from pathlib import Path
from typing import Any

import pytest

from intra_search.config.study_file import StudyPlan, parse_study
from intra_search.errors import StudyError
from intra_search.store.artefacts import Baselines, Teacher
from intra_search.store.events import Event, Note, PlainStudentEpoch, ShardStored, TeacherEpoch
from intra_search.store.ledger import HistoryRow
from intra_search.store.study_folder import StudyFolder
from intra_search.store.trial_state import TrialState
from intra_search.study import baselines, knowledge, knowledge_mode, plain_student, teacher
from intra_search.study import search as search_step
from intra_search.study.run import _Driver
from tests.study.contexts import CLUSTER, Notes, context_of

HALF = '[search]\nnum_trials = 2\n[space."distill.enabled"]\nkind = "choice"\nvalues = [true, false]\n'
ROW: HistoryRow = {"epoch": 1, "val/miou": 0.5, "seconds": 1.0}
TEACHER = Teacher(folder="teacher/t", checkpoint="teacher/t/gen-1/checkpoint-000001", score=0.5)


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(str(tmp_path / "study"))


def driver_of(folder: StudyFolder, plan: StudyPlan, events: list[Event]) -> _Driver:
    folder.begin(plan.settings.model_dump(mode="json"), plan.space.tables(), "f" * 64)
    return _Driver(folder, plan, folder.generation, "f" * 64, events.append)


def steps(
    folder: StudyFolder, plan: StudyPlan, monkeypatch: pytest.MonkeyPatch, mode: str = "stored", state: str = "done"
) -> list[str]:
    """The steps that a driver takes, in order; its trials end in the given state."""
    order: list[str] = []
    driver = driver_of(folder, plan, [])

    def step(name: str, result: Any) -> Any:
        def ensure(*arguments: Any) -> Any:
            order.append(name)
            return result

        return ensure

    def search(context: Any, conductor: Any, taught: Any) -> None:
        found = [f"{own.teacher.checkpoint} and {own.knowledge}" for own in taught.values()]
        order.append(f"search with {', '.join(found) or 'nothing'}")
        while (assignment := conductor.next()) is not None:
            conductor.lost(assignment.trial, "made up") if state == "failed" else None

    folder.baselines.write(Baselines(background=0.1, untrained=0.0))
    monkeypatch.setattr(baselines, "ensure", step("baselines", None))
    monkeypatch.setattr(teacher, "ensure", step("teacher", TEACHER))
    monkeypatch.setattr(plain_student, "ensure", step("plain student", None))
    monkeypatch.setattr(knowledge_mode, "ensure", step("mode", mode))
    monkeypatch.setattr(knowledge, "ensure", step("knowledge", "the store"))
    monkeypatch.setattr(search_step, "ensure", search)
    driver._run_steps(context_of(folder, plan, Notes()))
    return order


def test_every_step_comes_after_what_it_needs(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ["baselines", "teacher", "plain student", "mode", "knowledge"]
    last = f"search with {TEACHER.checkpoint} and the store"
    assert steps(folder, parse_study(HALF, "f"), monkeypatch) == [*first, last]


def test_a_live_teacher_needs_no_knowledge(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    order = steps(folder, parse_study(HALF, "f"), monkeypatch, mode="live")
    assert order[-2:] == ["mode", f"search with {TEACHER.checkpoint} and None"]


def test_a_study_that_never_distils_needs_no_teacher(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = parse_study("[distill]\nenabled = false", "f")
    assert steps(folder, plan, monkeypatch) == ["baselines", "search with nothing"]


def test_a_study_whose_trials_all_fail_ends_with_the_reason(
    folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StudyError, match="must have a trial that does not fail, found made up"):
        steps(folder, parse_study(HALF, "f"), monkeypatch, state="failed")
    assert {record.state for record in folder.ledger.records()} == {TrialState.FAILED}


def test_an_interrupted_study_is_left_where_something_was_stored(folder: StudyFolder) -> None:
    """The event is told before the study is left, and notes never end it."""
    events: list[Event] = []
    driver = driver_of(folder, parse_study(HALF, "f"), events)
    stored = (TeacherEpoch(ROW, 2), PlainStudentEpoch(ROW, 2), ShardStored(1, 2))
    for event in stored:
        driver._tell(event)  # nobody has interrupted it
    driver._conductor.drain()
    driver._tell(Note("interrupted"))
    for event in stored:
        with pytest.raises(KeyboardInterrupt):
            driver._tell(event)
    assert [type(event) for event in events[-4:]] == [Note, TeacherEpoch, PlainStudentEpoch, ShardStored]


def test_a_finished_study_starts_no_cluster(folder: StudyFolder) -> None:
    plan, events = parse_study(HALF, "f"), list[Event]()
    driver = driver_of(folder, plan, events)
    while (assignment := driver._conductor.next()) is not None:
        driver._conductor.lost(assignment.trial, "made up")
    again: list[Event] = []
    driver_of(folder, plan, again).run("no such cluster:1")
    assert again == [Note("nothing is missing: all trials are finished")]


def test_baselines_are_measured_once(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    from intra_search.training import worker

    measured: list[dict[str, float]] = []

    def measure(settings: Any, **places: float) -> Baselines:
        measured.append(places)
        return Baselines(background=0.1, untrained=None)

    monkeypatch.setattr(worker, "measure_baselines", measure)
    notes = Notes()
    for _ in range(2):
        found = baselines.ensure(context_of(folder, parse_study(HALF, "f"), notes))
        assert found == Baselines(background=0.1, untrained=None)
    assert measured == [{"cpus": CLUSTER.cpus_alone, "gpus": CLUSTER.gpus_alone}]
    assert notes == ["val/miou 0.1000 for background only, none untrained"]
