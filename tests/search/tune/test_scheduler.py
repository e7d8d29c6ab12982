"""Between Tune and a work source: what is asked, what is reported, what is stopped. Tune and the work are made up."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray.exceptions
from ray.train._internal.storage import StorageContext
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from intra_search.config.study import StudySettings
from intra_search.errors import StorageError
from intra_search.search.tune.scheduler import WorkScheduler, last_error
from intra_search.search.tune.searcher import WorkSearcher, tune_name
from intra_search.search.work import Assignment, Decision
from intra_search.training.failures import Cause, RestartPolicy, classify
from intra_search.training.job import TrainingJob, student_job
from intra_search.training.report import TrialReport, message

GOES_ON = TrialReport([{"epoch": 1}], finished=False, num_parameters=1)


class MadeUpWork:
    """A work source of a few trials that notes what it is told."""

    def __init__(self, num_trials: int = 3, decision: Decision = Decision.CONTINUE) -> None:
        self._left = list(range(num_trials))
        self._decision = decision
        self.running: set[int] = set()
        self.told: list[tuple[str, int, Any]] = []
        self.drained = False

    @property
    def exhausted(self) -> bool:
        return self.drained or not self._left

    @property
    def num_running(self) -> int:
        return len(self.running)

    def is_running(self, trial: int) -> bool:
        return trial in self.running

    def next(self) -> Assignment | None:
        trial = self._left.pop(0)
        self.running.add(trial)
        return Assignment(trial, 1, StudySettings())

    def report(self, trial: int, report: TrialReport) -> Decision:
        self.told.append(("report", trial, report))
        if report.finished or self._decision is Decision.STOP:
            self.running.discard(trial)
        return Decision.STOP if report.finished else self._decision

    def lost(self, trial: int, reason: str) -> None:
        self.told.append(("lost", trial, reason))
        self.running.discard(trial)

    def give_back(self, trial: int) -> None:
        self.told.append(("given back", trial, None))
        self.running.discard(trial)

    def drain(self) -> None:
        self.drained = True


def make_job(assignment: Assignment) -> TrainingJob:
    folder = f"trials/{assignment.trial:05d}"
    return student_job("study", assignment.trial, folder, 1, assignment.settings, knowledge=None, teacher="")


class Controller:
    """Tune's, as far as a scheduler asks it."""

    def __init__(self) -> None:
        self.stopped: list[Any] = []

    def stop_trial(self, trial: Any) -> None:
        self.stopped.append(trial)


def tune_trial(number: int) -> Any:
    return SimpleNamespace(config={"trial": number}, trial_id=f"t{number}", pickled_error_file=None, error_file=None)


@pytest.fixture
def real_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """One of Tune's own, whose errors are written as Tune writes them, to a folder of the driver's."""
    monkeypatch.setattr("ray.train._internal.storage._get_ray_train_session_dir", lambda: str(tmp_path / "session"))
    storage = StorageContext(str(tmp_path), "experiment", trial_dir_name="trial-00000")
    trial = Trial("made up", config={"trial": 0}, storage=storage, stub=True)
    trial.init_local_path()
    return trial


@pytest.fixture
def work() -> MadeUpWork:
    made_up = MadeUpWork()
    made_up.next()
    return made_up


def test_each_suggestion_is_a_whole_job_and_no_more_run_than_fit() -> None:
    work = MadeUpWork(3)
    searcher = WorkSearcher(work, make_job, max_concurrent=2)
    first = searcher.suggest("a")
    assert first["trial"] == 0
    assert TrainingJob.of_json(first["job"]) == make_job(Assignment(0, 1, StudySettings()))
    assert searcher.suggest("b")["trial"] == 1
    assert searcher.suggest("c") is None  # two run
    work.running.clear()
    assert searcher.suggest("c")["trial"] == 2
    assert tune_name(tune_trial(2)) == "trial-00002"


def test_a_search_that_leaves_ends_though_a_trial_could_not_report_its_end() -> None:
    """Its slot is never given back; asked again and again, Tune would wait for ever."""
    work = MadeUpWork(2)
    work.next()
    work.drain()
    assert WorkSearcher(work, make_job, 1).suggest("next") == Searcher.FINISHED


def test_decisions_come_back_as_tunes(work: MadeUpWork) -> None:
    scheduler = WorkScheduler(work, RestartPolicy(1))
    assert scheduler.on_trial_result(None, tune_trial(0), message(GOES_ON)) == TrialScheduler.CONTINUE
    stopping = MadeUpWork(decision=Decision.STOP)
    stopping.next()
    scheduler = WorkScheduler(stopping, RestartPolicy(1))
    assert scheduler.on_trial_result(None, tune_trial(0), message(GOES_ON)) == TrialScheduler.STOP


def test_a_trial_that_has_finished_leaves_by_itself(work: MadeUpWork) -> None:
    """Stopping it would kill a group while it cleans up."""
    scheduler = WorkScheduler(work, RestartPolicy(1))
    finished = message(GOES_ON._replace(finished=True))
    assert scheduler.on_trial_result(None, tune_trial(0), finished) == TrialScheduler.CONTINUE
    final = message(TrialReport([], finished=False, num_parameters=0, final=True))
    assert scheduler.on_trial_result(None, tune_trial(0), final) == TrialScheduler.STOP
    assert [what for what, *_ in work.told] == ["report"]


def test_a_group_that_leaves_without_an_end_is_lost(work: MadeUpWork) -> None:
    scheduler = WorkScheduler(work, RestartPolicy(1))
    final = message(TrialReport([], finished=False, num_parameters=0, final=True))
    assert scheduler.on_trial_result(None, tune_trial(0), final) == TrialScheduler.STOP
    assert work.told == [("lost", 0, "its workers left without a report of its end")]


def test_a_report_under_way_when_its_trial_was_ended_changes_nothing(work: MadeUpWork) -> None:
    work.lost(0, "gone")
    scheduler = WorkScheduler(work, RestartPolicy(1))
    assert scheduler.on_trial_result(None, tune_trial(0), message(GOES_ON)) == TrialScheduler.STOP
    scheduler.on_trial_complete(None, tune_trial(0), message(GOES_ON))
    assert len(work.told) == 1


def test_a_last_report_that_comes_with_the_end_is_taken(work: MadeUpWork) -> None:
    scheduler = WorkScheduler(work, RestartPolicy(1))
    scheduler.on_trial_complete(None, tune_trial(0), message(GOES_ON._replace(finished=True)))
    assert [what for what, *_ in work.told] == ["report"]
    assert not work.running


def test_the_last_error_is_the_one_that_tune_has_just_written(real_trial: Trial) -> None:
    """Its copy in the experiment's storage, which Tune makes every now and then, is older or missing."""
    real_trial.handle_error(ray.exceptions.OutOfMemoryError("killed by the memory monitor"))
    assert str(last_error(real_trial)) == "killed by the memory monitor"  # no error of an actor: Tune keeps its text
    real_trial.handle_error(ray.exceptions.ActorDiedError())
    assert classify(last_error(real_trial)).cause is Cause.LOST_WORKER
    real_trial.handle_error(ray.exceptions.RayTaskError("step", "Traceback", cause=OSError(28, "No space left")))
    assert classify(last_error(real_trial)).cause is Cause.STORAGE


def test_without_any_file_the_last_error_is_unknown() -> None:
    assert str(last_error(tune_trial(0))) == "unknown"


def test_a_worker_that_dies_too_often_ends_its_trial_in_one_line(work: MadeUpWork, real_trial: Trial) -> None:
    scheduler, controller = WorkScheduler(work, RestartPolicy(1)), Controller()
    for times in (1, 2):
        real_trial.handle_error(ray.exceptions.ActorDiedError())
        scheduler.on_trial_error(controller, real_trial)
        scheduler.on_trial_add(controller, real_trial)  # as Tune does before it starts the worker again
        assert len(work.told) == len(controller.stopped) == times - 1
    ((what, number, reason),) = work.told
    assert (what, number) == ("lost", 0)
    assert reason.startswith("its worker died 2 times (resources.max_restarts = 1); last: ActorDiedError: ")
    assert "\n" not in reason
    assert controller.stopped == [real_trial]
    scheduler.on_trial_error(controller, real_trial)  # as Tune ends it
    assert len(work.told) == 1


def test_the_same_unknown_error_twice_is_enough_unless_an_epoch_came_between(
    work: MadeUpWork, real_trial: Trial
) -> None:
    scheduler, controller = WorkScheduler(work, RestartPolicy(8)), Controller()

    def fail() -> None:
        real_trial.handle_error(ray.exceptions.RayTaskError("setup", "Traceback", cause=ValueError("a bug")))
        scheduler.on_trial_error(controller, real_trial)

    fail()
    scheduler.on_trial_result(controller, real_trial, message(GOES_ON))
    fail()
    assert not [told for told in work.told if told[0] == "lost"]
    fail()
    assert work.told[-1] == ("lost", 0, "its worker died 3 times; last: ValueError: a bug")


def test_a_full_disk_that_keeps_a_worker_from_starting_ends_the_search(work: MadeUpWork, real_trial: Trial) -> None:
    scheduler, controller = WorkScheduler(work, RestartPolicy(8)), Controller()
    real_trial.handle_error(ray.exceptions.RayTaskError("setup", "Traceback", cause=OSError(28, "none", "/study/x")))
    scheduler.on_trial_error(controller, real_trial)
    scheduler.on_trial_add(controller, real_trial)
    assert work.drained
    assert "/study/x: needs space" in str(scheduler.error)
    assert controller.stopped == [real_trial]


def test_a_study_that_cannot_be_written_drains_the_search(work: MadeUpWork) -> None:
    scheduler = WorkScheduler(work, RestartPolicy(1))
    error = StorageError("/study", "needs space", "none", "free some")
    report = message(TrialReport.of_storage_error(error))
    assert scheduler.on_trial_result(None, tune_trial(0), report) == TrialScheduler.STOP
    assert work.drained
    assert str(scheduler.error) == str(error)


def test_work_that_tune_drops_is_given_back(work: MadeUpWork) -> None:
    """Its worker died between two trials, before it could begin this one."""
    searcher = WorkSearcher(work, make_job, 2)
    searcher.suggest("a")
    searcher.on_trial_complete("a", error=True)
    assert work.told == [("given back", 1, None)]


def test_an_error_at_a_last_report_ends_the_search(work: MadeUpWork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tune swallows what is raised there, and would start the finished trial again."""
    error = StorageError("/study", "needs space", "none", "free some")

    def report(trial: int, report: TrialReport) -> Decision:
        raise error

    monkeypatch.setattr(work, "report", report)
    scheduler = WorkScheduler(work, RestartPolicy(1))
    scheduler.on_trial_complete(None, tune_trial(0), message(GOES_ON._replace(finished=True)))
    assert scheduler.error is error
    assert work.drained


def test_a_new_trial_is_never_stopped_before_it_begins(work: MadeUpWork, real_trial: Trial) -> None:
    scheduler, controller = WorkScheduler(work, RestartPolicy(1)), Controller()
    scheduler.on_trial_add(controller, real_trial)
    assert not controller.stopped
