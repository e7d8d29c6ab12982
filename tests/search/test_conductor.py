"""The conductor, driven by made-up workers and killed at every event; no training, no Ray."""

import contextlib
import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from intra_search.config.study_file import StudyPlan, parse_study
from intra_search.errors import StudyError
from intra_search.search.conductor import Conductor
from intra_search.search.stopping.halving import rungs
from intra_search.search.work import Assignment
from intra_search.selection.pick import pick
from intra_search.store.bundle import read_about, write_bundle
from intra_search.store.events import (
    Event,
    Note,
    Tell,
    TrialAsked,
    TrialEnded,
    TrialLaunched,
    TrialReported,
    tell_all,
)
from intra_search.store.ledger import HistoryRow, TrialRecord, checkpoint_name, trial_folder
from intra_search.store.study_folder import StudyFolder
from intra_search.store.trial_state import TrialState
from intra_search.training.report import TrialReport

STUDY = """
[training]
epochs = 5
[search]
num_trials = 6
startup_trials = 3
[search.halving]
factor = 2
[space."distill.affinity.weight"]
kind = "float"
low = 0.01
high = 1.0
log = true
[space."student.network"]
kind = "choice"
values = ["erfnet", "enet"]
[[points]]
"student.network" = "enet"
"""
METRIC = "val/miou"
SCENES = "a" * 64


class KilledError(Exception):
    """The driver died here."""


def score(assignment: Assignment, epoch: int) -> float:
    """What a trial reaches after an epoch: follows from its settings alone, as a real training's does."""
    start = assignment.settings.distill.affinity.weight + (assignment.settings.student.network == "enet")
    return round(0.3 + 0.2 * math.sin(7 * start) + 0.05 * math.sin(3 * epoch + start), 6)


class Worker:
    """Trains one assignment as `Training` does: resumes from the newest checkpoint, publishes one per epoch."""

    def __init__(self, folder: StudyFolder, assignment: Assignment, epochs: int) -> None:
        self.assignment = assignment
        self._storage = folder.storage
        self._epochs = epochs
        self.trained: list[int] = []
        self._home = trial_folder(assignment.trial)
        names = [name for name in self._storage.names(self._home) if name.startswith("gen-")]
        found = [
            (checkpoint, name)
            for name in names
            if int(name.removeprefix("gen-")) <= assignment.generation
            for checkpoint in self._storage.names(f"{self._home}/{name}")
        ]
        self.history: list[HistoryRow] = []
        if found:
            checkpoint, name = max(found)
            self.history = read_about(self._storage, f"{self._home}/{name}/{checkpoint}")["history"]

    @property
    def finished(self) -> bool:
        return len(self.history) >= self._epochs

    def step(self) -> TrialReport:
        if not self.finished:
            epoch = len(self.history) + 1
            self.history.append({"epoch": epoch, METRIC: score(self.assignment, epoch), "seconds": 1.0})
            self.trained.append(epoch)
            self._save(epoch)
        return self.report()

    def report(self) -> TrialReport:
        return TrialReport([dict(row) for row in self.history], self.finished, 1000)

    def _save(self, epoch: int) -> None:
        folder = f"{self._home}/gen-{self.assignment.generation}"
        write_bundle(self._storage, f"{folder}/{checkpoint_name(epoch)}", {}, {"history": self.history})
        best = int(max(self.history, key=lambda row: float(row[METRIC]))["epoch"])
        kept = {checkpoint_name(kept) for kept in (epoch, epoch - 1, best)}
        for name in self._storage.names(folder):
            if name not in kept:
                self._storage.delete(f"{folder}/{name}")


class Driver:
    """One start of the driver, with its made-up cluster."""

    def __init__(self, folder: StudyFolder, plan: StudyPlan, *listeners: Tell, slots: int = 3) -> None:
        settings = plan.settings.model_dump(mode="json")
        folder.check(settings, SCENES)
        generation = folder.begin(settings, plan.space.tables(), SCENES)
        self.folder = folder
        self.plan = plan
        self.finished_before = {r.trial for r in folder.ledger.records() if r.state in ("done", "stopped", "failed")}
        self.workers: dict[int, Worker] = {}
        self.launched: list[Worker] = []
        self._slots = slots
        self.conductor = Conductor(folder, plan.settings, plan.space, generation, tell_all(*listeners))

    def start_one(self) -> bool:
        """Launches a trial if there is a slot and a trial."""
        if len(self.workers) >= self._slots or (assignment := self.conductor.next()) is None:
            return False
        assert assignment.trial not in self.finished_before
        worker = Worker(self.folder, assignment, self.plan.settings.training.epochs)
        self.launched.append(worker)
        self.workers[assignment.trial] = worker
        return True

    def step_one(self, trial: int, before_report: Callable[[], None] = lambda: None) -> None:
        report = self.workers[trial].step()
        before_report()
        if self.conductor.report(trial, report) == "stop":
            del self.workers[trial]

    def run(self, rng: random.Random, before_report: Callable[[], None] = lambda: None) -> None:
        """Starts and steps in random order until nothing is left."""
        while True:
            if rng.random() < 0.5 and self.start_one():
                continue
            if self.workers:
                self.step_one(rng.choice(sorted(self.workers)), before_report)
            elif not self.start_one():
                assert self.conductor.exhausted
                return


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(str(tmp_path / "study"))


def plan_of(*overrides: str) -> StudyPlan:
    return parse_study(STUDY, "study", overrides)


def check_finished(folder: StudyFolder, plan: StudyPlan) -> None:
    """All that must hold of a finished study, read from its files alone."""
    records = folder.ledger.records()
    assert [record.trial for record in records] == list(range(plan.settings.search.num_trials))
    epochs, marks = plan.settings.training.epochs, rungs(plan.settings.search.halving, plan.settings.training.epochs)
    for record in records:
        history = folder.ledger.history(record.trial)
        assert [row["epoch"] for row in history] == list(range(1, record.epochs + 1))
        assignment = Assignment(record.trial, 1, plan.space.settings(record.point))
        assert [row[METRIC] for row in history] == [score(assignment, row["epoch"]) for row in history]
        assert record.state in ("done", "stopped")
        assert record.finished is not None
        assert record.objectives == {METRIC: max(row[METRIC] for row in history)}
        assert record.device_seconds == len(history)
        assert record.num_parameters in (1000, None)
        assert record.best_checkpoint is not None
        best = read_about(folder.storage, record.best_checkpoint)["history"][-1]
        assert best == history[(record.best_epoch or 0) - 1]
        assert best[METRIC] == record.objectives[METRIC]
        if record.state == "done":
            assert record.epochs == epochs
            assert record.rungs == marks
            assert record.reason is None
        else:
            assert record.epochs >= next(mark for mark in marks if mark not in record.rungs)
            assert METRIC in (record.reason or "")
    points = [record.point for record in records]
    assert points[: len(plan.space.points)] == list(plan.space.points)
    finished = [record for record in records if record.state == "done"]
    best_record = max(finished, key=lambda record: (record.objectives[METRIC], -record.trial))
    assert pick(folder).record == best_record


def _trial_of(event: Event) -> int:
    assert isinstance(event, TrialAsked | TrialLaunched | TrialReported | TrialEnded)
    return event.record.trial


@pytest.mark.parametrize("seed", range(5))
def test_a_whole_search_in_any_order(folder: StudyFolder, seed: int) -> None:
    plan = plan_of()
    events: list[Event] = []
    driver = Driver(folder, plan, events.append)
    driver.run(random.Random(seed))
    check_finished(folder, plan)
    assert driver.conductor.num_running == 0
    for record in folder.ledger.records():
        own = [type(event) for event in events if _trial_of(event) == record.trial]
        assert own == [TrialAsked, TrialLaunched, *[TrialReported] * record.epochs, TrialEnded]
        assert record.restarts == 0
        assert record.generation == 1


def test_at_a_rung_exactly_those_that_asha_says_go_on(folder: StudyFolder) -> None:
    """Every decision is recomputed from the histories as they stood."""
    plan = plan_of("search.num_trials=12")
    seen: list[tuple[int, int, bool]] = []

    def listen(event: Event) -> None:
        if isinstance(event, TrialReported) and event.record.epochs in (1, 2, 4):
            epochs, histories = event.record.epochs, driver.conductor.histories
            there = {
                trial: max(row[METRIC] for row in rows[:epochs])
                for trial, rows in histories.items()
                if len(rows) >= epochs
            }
            better = sum(value > there[event.record.trial] for value in there.values())
            seen.append((event.record.trial, epochs, better < math.ceil(len(there) / 2)))

    driver = Driver(folder, plan, listen)
    driver.run(random.Random(3))
    check_finished(folder, plan)
    stopped = {record.trial: record.epochs for record in folder.ledger.records() if record.state == "stopped"}
    assert {trial: epochs for trial, epochs, goes_on in seen if not goes_on} == stopped
    assert stopped


class Killer:
    """Raises at the nth event of a kind."""

    def __init__(self, event: str | None, number: int) -> None:
        self._event = event
        self._left = number

    def __call__(self, event: Event) -> None:
        if self._event in (None, type(event).__name__):
            self.count()

    def count(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise KilledError


def drill(folder: StudyFolder, plan: StudyPlan, kills: Sequence[tuple[str, int]], rng: random.Random) -> None:
    """Kills one driver after another, lets zombies write on, and lets the last driver finish."""
    zombies: list[Worker] = []
    for event, number in [*kills, ("never", 0)]:
        killer = Killer(None if event == "any" else event, number)
        driver: Driver | None = None
        with contextlib.suppress(KilledError):
            driver = Driver(folder, plan, killer)
            for zombie in zombies:  # they live on for a moment and write below their own generation
                zombie.step()
            driver.run(rng, killer.count if event == "checkpoint written" else lambda: None)
        if driver is not None:
            zombies = [worker for worker in driver.workers.values() if rng.random() < 0.5]
    check_finished(folder, plan)


@pytest.mark.parametrize("event", ["TrialAsked", "TrialLaunched", "TrialReported", "TrialEnded", "checkpoint written"])
@pytest.mark.parametrize("number", [1, 2, 5])
def test_killed_at_a_named_event_it_goes_on(folder: StudyFolder, event: str, number: int) -> None:
    drill(folder, plan_of(), [(event, number)], random.Random(number))


@pytest.mark.parametrize("seed", range(20))
def test_killed_at_random_events_again_and_again_it_goes_on(folder: StudyFolder, seed: int) -> None:
    rng = random.Random(seed)
    events = ["any", "TrialAsked", "TrialLaunched", "TrialReported", "TrialEnded", "checkpoint written"]
    kills = [(rng.choice(events), rng.randint(1, 12)) for _ in range(4)]
    drill(folder, plan_of(), kills, rng)


def test_no_finished_epoch_is_trained_twice(folder: StudyFolder) -> None:
    """Without zombies each (trial, epoch) is trained once, whatever was killed: its checkpoint was published."""
    plan, rng = plan_of(), random.Random(5)
    trained: list[tuple[int, int]] = []
    for number in (3, 7, 11, 10_000):
        driver = Driver(folder, plan, Killer(None, number))
        with contextlib.suppress(KilledError):
            driver.run(rng)
        trained += [(worker.assignment.trial, epoch) for worker in driver.launched for epoch in worker.trained]
    check_finished(folder, plan)
    assert len(set(trained)) == len(trained)


def test_suggestions_after_a_kill_equal_those_without(tmp_path: Path) -> None:
    """One slot: the order of events is fixed, so a killed search must try the very same points."""
    points = []
    for kills in ([], [("TrialEnded", 4), ("TrialAsked", 1), ("TrialReported", 3)]):
        folder = StudyFolder(str(tmp_path / str(len(kills))))
        for event, number in [*kills, ("never", 0)]:
            with contextlib.suppress(KilledError):
                Driver(folder, plan_of(), Killer(event, number), slots=1).run(random.Random(0))
        points.append([(record.point, record.state, record.epochs) for record in folder.ledger.records()])
    assert points[0] == points[1]


def test_a_larger_number_extends_a_finished_study(folder: StudyFolder) -> None:
    Driver(folder, plan_of()).run(random.Random(0))
    before = folder.ledger.records()
    same = Driver(folder, plan_of())
    assert same.conductor.exhausted
    assert same.conductor.next() is None
    plan = plan_of("search.num_trials=9")
    driver = Driver(folder, plan)
    driver.run(random.Random(1))
    assert sorted(worker.assignment.trial for worker in driver.launched) == [6, 7, 8]
    assert folder.ledger.records()[:6] == before
    check_finished(folder, plan)


def test_a_point_added_to_the_file_is_tried_when_the_study_goes_on(folder: StudyFolder) -> None:
    Driver(folder, plan_of()).run(random.Random(0))
    added = {"distill.affinity.weight": 0.77, "student.network": "enet"}
    text = STUDY + '[[points]]\n"student.network" = "enet"\n"distill.affinity.weight" = 0.77\n'
    Driver(folder, parse_study(text, "study", ["search.num_trials=8"])).run(random.Random(0))
    record = folder.ledger.record(6)
    assert record is not None
    assert (record.point, record.origin) == (added, "point")
    last = folder.ledger.record(7)
    assert last is not None
    assert last.origin == "sampler"


def test_draining_lets_every_trial_leave_after_its_epoch(folder: StudyFolder) -> None:
    driver = Driver(folder, plan_of())
    for _ in range(3):
        assert driver.start_one()
    driver.step_one(0)
    driver.conductor.drain()
    assert driver.conductor.exhausted
    assert driver.conductor.next() is None
    running = sorted(driver.workers)
    for trial in running:
        driver.step_one(trial)
    assert not driver.workers
    assert driver.conductor.num_running == 0
    states = {record.trial: record.state for record in folder.ledger.records()}
    assert set(states.values()) <= {"waiting", "stopped"}
    assert "waiting" in states.values()
    driver.conductor.lost(running[0], "its actor was torn down")
    assert {record.trial: record.state for record in folder.ledger.records()} == states
    Driver(folder, plan_of()).run(random.Random(0))
    check_finished(folder, plan_of())


def one_running(folder: StudyFolder) -> Driver:
    """Trial 0 runs and has reported two epochs."""
    driver = Driver(folder, plan_of("search.halving.enabled=false"))
    assert driver.start_one()
    driver.step_one(0)
    driver.step_one(0)
    return driver


def state_of(folder: StudyFolder, trial: int = 0) -> TrialRecord:
    record = folder.ledger.record(trial)
    assert record is not None
    return record


def test_a_failed_trial_keeps_its_reason_and_the_search_goes_on(folder: StudyFolder) -> None:
    driver = one_running(folder)
    report = driver.workers.pop(0).report()._replace(finished=True, failure="train/ce is not finite at epoch 3, step 1")
    assert driver.conductor.report(0, report) == "stop"
    record = state_of(folder)
    assert (record.state, record.reason, record.epochs) == ("failed", report.failure, 2)
    driver.run(random.Random(0))
    others = folder.ledger.records()[1:]
    assert [other.state for other in others] == ["done"] * 5
    assert pick(folder).record.trial != 0


def test_a_worker_that_fails_before_it_has_begun_erases_nothing(folder: StudyFolder) -> None:
    """A resumed trial whose training cannot be built reports no epochs; those of its history stay."""
    driver = one_running(folder)
    before = state_of(folder)
    assert driver.conductor.report(0, TrialReport([], True, 0, failure="no knowledge")) == "stop"
    after = state_of(folder)
    assert len(folder.ledger.history(0)) == 2
    kept = ("epochs", "objectives", "best_epoch", "best_checkpoint", "num_parameters", "device_seconds")
    assert {name: getattr(after, name) for name in kept} == {name: getattr(before, name) for name in kept}
    assert (after.state, after.reason) == ("failed", "no knowledge")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_a_validation_without_a_number_fails_the_trial_and_stays_readable(
    folder: StudyFolder, value: float | None
) -> None:
    driver = one_running(folder)
    rows: list[dict[str, Any]] = [*driver.workers.pop(0).history, {"epoch": 3, METRIC: value, "seconds": 1.0}]
    assert driver.conductor.report(0, TrialReport(rows, False, 1000)) == "stop"
    record = state_of(folder)
    assert record.state == "failed"
    assert record.reason == f"val/miou is {value} at epoch 3: no number to compare"
    assert record.best_epoch in (1, 2)
    driver.run(random.Random(0))
    assert Driver(folder, plan_of("search.halving.enabled=false")).conductor.exhausted


def test_a_kill_before_such_a_failure_is_recorded_ends_the_same(folder: StudyFolder) -> None:
    one_running(folder)
    rows = [*folder.ledger.history(0), {"epoch": 3, METRIC: float("nan"), "seconds": 1.0}]
    folder.ledger.write_history(0, rows)
    driver = Driver(folder, plan_of("search.halving.enabled=false"))
    assert state_of(folder).state == "failed"
    assert driver.start_one()
    assert driver.launched[0].assignment.trial == 1


def test_a_lost_worker_fails_its_trial(folder: StudyFolder) -> None:
    driver = one_running(folder)
    driver.conductor.lost(0, "its worker died 4 times")
    record = state_of(folder)
    assert (record.state, record.reason, record.epochs) == ("failed", "its worker died 4 times", 2)
    assert not driver.conductor.is_running(0)


def test_a_trial_that_was_given_back_is_handed_out_before_any_new_one(folder: StudyFolder) -> None:
    driver = one_running(folder)
    driver.conductor.give_back(0)
    assert state_of(folder).state == "waiting"
    assert not driver.conductor.is_running(0)
    driver.conductor.give_back(0)  # again: nothing changes
    assignment = driver.conductor.next()
    assert assignment is not None
    assert assignment.trial == 0
    record = state_of(folder)
    assert (record.state, record.epochs, record.restarts) == ("running", 2, 1)
    new = driver.conductor.next()
    assert new is not None
    assert new.trial == 1


def test_a_late_report_of_an_ended_trial_changes_nothing(folder: StudyFolder) -> None:
    driver = one_running(folder)
    worker = driver.workers.pop(0)
    driver.conductor.lost(0, "gone")
    before = (state_of(folder), folder.ledger.history(0))
    assert driver.conductor.report(0, worker.step()) == "stop"
    assert (state_of(folder), folder.ledger.history(0)) == before
    driver.conductor.lost(0, "gone again")
    assert state_of(folder) == before[0]


def test_a_driver_that_was_taken_over_writes_nothing_more(folder: StudyFolder) -> None:
    old = one_running(folder)
    new = Driver(folder, plan_of("search.halving.enabled=false"))
    assert new.start_one()
    before = (state_of(folder), folder.ledger.history(0))
    for attempt in (
        old.conductor.next,
        lambda: old.step_one(0),
        lambda: old.conductor.lost(0, "gone"),
    ):
        with pytest.raises(StudyError, match="one driver at a time, found generation 2"):
            attempt()
    assert (state_of(folder), folder.ledger.history(0)) == before


def test_epochs_that_were_checkpointed_but_not_reported_arrive_together(folder: StudyFolder) -> None:
    driver = one_running(folder)
    driver.workers[0].step()  # published, and the driver died
    again = Driver(folder, plan_of("search.halving.enabled=false"))
    assert again.start_one()
    again.step_one(0)
    assert [row["epoch"] for row in folder.ledger.history(0)] == [1, 2, 3, 4]
    assert state_of(folder).restarts == 1


def test_a_half_written_checkpoint_is_not_the_best(folder: StudyFolder) -> None:
    driver = one_running(folder)
    best = state_of(folder).best_checkpoint
    assert best is not None
    folder.storage.delete(f"{best}/manifest.json")
    driver.step_one(0)
    assert state_of(folder).best_checkpoint not in (None, best)


def rows_of(*values: float) -> list[HistoryRow]:
    return [{"epoch": number, METRIC: value, "seconds": 1.0} for number, value in enumerate(values, 1)]


def test_a_trial_is_compared_with_what_others_had_at_the_rung_not_with_what_they_have_now(folder: StudyFolder) -> None:
    conductor = Driver(folder, plan_of("search.halving.factor=2")).conductor
    for trial in (0, 1, 2):
        assert conductor.next() is not None
        assert conductor.is_running(trial)
    assert conductor.report(0, TrialReport(rows_of(0.2), False, 1)) == "continue"
    assert conductor.report(0, TrialReport(rows_of(0.2, 0.9), False, 1)) == "continue"
    assert conductor.report(1, TrialReport(rows_of(0.3), False, 1)) == "continue"  # better than 0.2, not than 0.9
    assert conductor.report(2, TrialReport(rows_of(0.1), False, 1)) == "stop"  # third of 3, two go on
    assert state_of(folder, 2).reason == "val/miou 0.1000 is rank 3 of 3 at the rung of epoch 1"
    assert (state_of(folder, 0).rungs, state_of(folder, 1).rungs, state_of(folder, 2).rungs) == ([1, 2], [1], [])


def test_several_rungs_in_one_report_are_judged_in_order(folder: StudyFolder) -> None:
    conductor = Driver(folder, plan_of("search.halving.factor=2")).conductor
    assert conductor.next() is not None
    assert conductor.next() is not None
    assert conductor.report(0, TrialReport(rows_of(0.5, 0.5, 0.5), False, 1)) == "continue"
    assert conductor.report(1, TrialReport(rows_of(0.6, 0.4, 0.3), False, 1)) == "continue"  # its best so far is 0.6
    assert state_of(folder, 1).rungs == [1, 2]
    assert conductor.report(1, TrialReport(rows_of(0.6, 0.4, 0.3, 0.2), False, 1)) == "continue"
    assert conductor.report(0, TrialReport(rows_of(0.5, 0.5, 0.5, 0.5), False, 1)) == "stop"
    assert state_of(folder, 0).reason == "val/miou 0.5000 is rank 2 of 2 at the rung of epoch 4"


def test_of_equal_epochs_the_first_is_the_best(folder: StudyFolder) -> None:
    conductor = Driver(folder, plan_of("search.halving.enabled=false")).conductor
    assert conductor.next() is not None
    conductor.report(0, TrialReport(rows_of(0.1, 0.5, 0.5), False, 1))
    assert state_of(folder).best_epoch == 2


def test_a_new_attempt_counts_as_a_restart_and_its_notes_are_told_once(folder: StudyFolder) -> None:
    plan, events = plan_of("search.halving.enabled=false"), list[Event]()
    folder.begin(plan.settings.model_dump(mode="json"), plan.space.tables(), SCENES)
    conductor = Conductor(folder, plan.settings, plan.space, 1, events.append)
    assert conductor.next() is not None
    conductor.report(0, TrialReport(rows_of(0.1), False, 1, attempt="a", notes=("batch 4",)))
    conductor.report(0, TrialReport(rows_of(0.1, 0.2), False, 1, attempt="a", notes=("batch 4",)))
    assert state_of(folder).restarts == 0
    conductor.report(0, TrialReport(rows_of(0.1, 0.2, 0.3), False, 1, attempt="b", notes=("resumed",)))
    assert state_of(folder).restarts == 1
    notes = [event.text for event in events if isinstance(event, Note)]
    assert notes == ["trial 0: batch 4", "trial 0: resumed"]


@pytest.mark.parametrize(
    ("reports", "restarts"),
    [
        ([("a", 0), ("a", 0), ("b", 0)], 1),  # another process: the first one died
        ([("a", 0), ("b", 1), ("b", 1)], 1),  # a group that says so too is not counted twice
        ([("a", 3), ("b", 5)], 5),  # groups that died before their first report
        ([("a", 0), ("", 0)], 0),  # nothing died: the trial could not go on
        ([("", 2)], 2),
    ],
)
def test_restarts_are_counted_once(folder: StudyFolder, reports: list[tuple[str, int]], restarts: int) -> None:
    conductor = Driver(folder, plan_of("search.halving.enabled=false")).conductor
    assert conductor.next() is not None
    for attempt, known in reports:
        failure = None if attempt else "gone"
        conductor.report(0, TrialReport(rows_of(0.1), False, 1, attempt, known, failure=failure))
    assert state_of(folder, 0).restarts == restarts


def test_a_record_that_makes_no_settings_is_set_aside(folder: StudyFolder) -> None:
    """Its point passed the checks of the release, or of the space, that wrote it."""
    first = Driver(folder, plan_of())
    first.start_one()
    record = folder.ledger.records()[0]
    folder.ledger.write(record.model_copy(update={"point": {**record.point, "distill.enabled": 0}}))
    events: list[Event] = []
    again = Driver(folder, plan_of(), events.append)
    again.run(random.Random(0))
    assert [record.state for record in folder.ledger.records()].count(TrialState.FAILED) == 1
    assert "distill.enabled: Input should be a valid boolean" in (folder.ledger.records()[0].reason or "")
    assert any(isinstance(event, Note) and "trial 0 is set aside as failed" in event.text for event in events)


def test_values_that_break_a_rule_together_fail_their_trial_only(folder: StudyFolder) -> None:
    tree = {
        "search": {"num_trials": 20, "sampler": "random"},
        "space": {
            f"distill.affinity.{name}": {"kind": "choice", "values": [0.0, 0.9], "when": {}}
            for name in ("start", "ramp")
        },
    }
    Driver(folder, parse_study(tomli_w.dumps(tree), "study")).run(random.Random(0))
    failed = [record for record in folder.ledger.records() if record.state == "failed"]
    assert failed
    assert all(set(record.point.values()) == {0.9} for record in failed)
    assert all("start + ramp must be at most 1" in (record.reason or "") for record in failed)


def test_a_point_is_tried_beside_one_that_is_only_equal(folder: StudyFolder) -> None:
    plan = plan_of()
    Driver(folder, plan).start_one()
    record = folder.ledger.records()[0]
    weight = "distill.affinity.weight"
    one = record.model_copy(update={"point": {**record.point, weight: 1.0}})
    folder.ledger.write(one)
    file = STUDY + f'[[points]]\n"student.network" = "{record.point["student.network"]}"\n"{weight}" = 1\n'
    driver = Driver(folder, parse_study(file, "study"), slots=6)
    while driver.start_one():
        pass
    points = [json.dumps(record.point[weight]) for record in folder.ledger.records()]
    assert points[0] == "1.0"
    assert "1" in points
