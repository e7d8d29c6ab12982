"""The conductor of a search: hands out trials, takes their reports, decides, and writes the ledger.

It knows nothing of Ray. Everything it decides follows from the ledger, so a new conductor on the same ledger goes on
where a killed one stopped. Order of events for a trial: asked (record written, waiting), launched (running),
reported (history written), recorded (record written), told (the sampler's next suggestion knows it).
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from intra_search.config.space import Space
from intra_search.config.study import StudySettings
from intra_search.errors import StudyError
from intra_search.search.adviser import Adviser
from intra_search.search.halving import best_until, has_value, rungs, survives
from intra_search.store.ledger import LIVE, HistoryRow, TrialRecord, find_checkpoint, now, trial_folder
from intra_search.store.study_folder import StudyFolder

Event = Literal["asked", "launched", "reported", "recorded"]
Listener = Callable[[Event, TrialRecord, list[HistoryRow]], None]
"""Called after each event has reached the ledger."""


class Assignment(NamedTuple):
    """A trial to run now, from its newest checkpoint if it has one."""

    trial: int
    generation: int
    settings: StudySettings


class TrialReport(NamedTuple):
    """What a trial's worker says after each epoch: all finished epochs, so that nothing depends on earlier reports."""

    history: list[HistoryRow]
    finished: bool
    num_parameters: int
    attempt: str = ""
    """Differs between the processes that worked on the trial: a new one means that the last one died. Empty where none
    came as far as to begin."""
    restarts: int = 0
    """Crashes since the trial was handed out, where its processes know of them: some die before their first report."""
    notes: Sequence[str] = ()
    """Decisions of the worker that a person should see."""
    failure: str | None = None


class _Verdict(NamedTuple):
    passed: list[int]
    reason: str | None


class Conductor:
    """Runs one search over one ledger; holds the only copy that may write."""

    def __init__(
        self,
        folder: StudyFolder,
        settings: StudySettings,
        space: Space,
        generation: int,
        listeners: tuple[Listener, ...] = (),
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._folder = folder
        self._ledger = folder.ledger
        self._settings = settings
        self._space = space
        self._generation = generation
        self._listeners = listeners
        self._metric = settings.search.objectives[0]
        self._adviser = Adviser(space, settings)
        self.records = {record.trial: record for record in self._ledger.records()}
        self.histories = {trial: self._ledger.history(trial) for trial in self.records}
        self._to_resume = [record.trial for record in self.records.values() if record.state in LIVE]
        self._launched: set[int] = set()
        self._attempts: dict[int, str] = {}
        self._crashes: dict[int, int] = {}
        self._note = note
        self._draining = False
        self._settle_finished()

    @property
    def num_running(self) -> int:
        return len(self._launched)

    def is_running(self, trial: int) -> bool:
        """Whether a trial was handed out and has not ended."""
        return trial in self._launched

    @property
    def exhausted(self) -> bool:
        """Whether no trial will be handed out any more."""
        return self._draining or (not self._to_resume and len(self.records) >= self._settings.search.num_trials)

    def next(self) -> Assignment | None:
        """The next trial: first those that an earlier driver left, then new ones; None when there is none."""
        if self._draining:
            return None
        self._check_generation()
        if self._to_resume:
            record = self.records[self._to_resume.pop(0)]
            return self._launch(record, restarts=record.restarts + (record.generation > 0))
        if len(self.records) >= self._settings.search.num_trials:
            return None
        record = self._ask()
        return self._launch(record, restarts=0)

    def report(self, trial: int, report: TrialReport) -> Literal["continue", "stop"]:
        """Takes a worker's report into the ledger and decides whether the trial goes on.

        A late report of a trial that has ended changes nothing. Raises `StudyError` when another driver took over.
        """
        if trial not in self._launched:
            return "stop"
        self._check_generation()
        record = self.records[trial]
        # A worker that failed before it had loaded its checkpoint knows of no epoch: what was finished stays.
        if report.failure is None or len(report.history) > len(self.histories[trial]):
            self.histories[trial] = report.history
            self._ledger.write_history(trial, report.history)
        num_parameters = report.num_parameters or record.num_parameters
        changes = {"num_parameters": num_parameters, "restarts": record.restarts + self._new_crashes(trial, report)}
        if report.attempt and self._attempts.get(trial) != report.attempt:
            self._attempts[trial] = report.attempt
            for text in report.notes:
                self._note(f"trial {trial}: {text}")
        record = self._with_progress(record.model_copy(update=changes))
        self.records[trial] = record
        self._notify("reported", record)
        failure = report.failure or self._missing_value(trial)
        if failure is not None:
            return self._end(record, "failed", failure)
        verdict = self._verdict(record)
        record = record.model_copy(update={"rungs": verdict.passed})
        if verdict.reason is not None:
            return self._end(record, "stopped", verdict.reason)
        if report.finished:
            return self._end(record, "done", None)
        if self._draining:
            self._launched.discard(trial)
            self._record(record.model_copy(update={"state": "waiting"}))
            return "stop"
        self._record(record)
        return "continue"

    def _new_crashes(self, trial: int, report: TrialReport) -> int:
        known = self._crashes.get(trial, 0)
        replaced = trial in self._attempts and report.attempt not in ("", self._attempts[trial])
        self._crashes[trial] = max(known + replaced, report.restarts)
        return self._crashes[trial] - known

    @property
    def draining(self) -> bool:
        """Whether the search was asked to leave."""
        return self._draining

    def drain(self) -> None:
        """Hands out nothing more and lets every trial leave after its next report, to be resumed by a later start."""
        self._draining = True

    def lost(self, trial: int, reason: str) -> None:
        """The trial's worker died for good. Nothing changes for a trial that has ended or left."""
        if trial in self._launched:
            self._check_generation()
            self._end(self.records[trial], "failed", reason)

    def _ask(self) -> TrialRecord:
        trial = max(self.records, default=-1) + 1
        tried = [record.point for record in self.records.values()]
        # By value, not by number: points that were added to the file of a study that goes on are tried too.
        fixed = next((point for point in self._space.points if point not in tried), None)
        point = self._adviser.suggest(trial, self.records.values(), self.histories) if fixed is None else fixed
        origin: Literal["point", "sampler"] = "sampler" if fixed is None else "point"
        record = TrialRecord(trial=trial, state="waiting", point=point, origin=origin, created=now())
        self.histories[trial] = []
        self._record(record, "asked")
        return record

    def _launch(self, record: TrialRecord, restarts: int) -> Assignment:
        changes: dict[str, Any] = {"state": "running", "generation": self._generation, "restarts": restarts}
        self._launched.add(record.trial)
        self._record(record.model_copy(update=changes), "launched")
        return Assignment(record.trial, self._generation, self._space.settings(record.point))

    def _settle_finished(self) -> None:
        """Ends trials whose last report reached the ledger while the driver died before it could record the end."""
        for trial in list(self._to_resume):
            record = self._with_progress(self.records[trial])
            failure = self._missing_value(trial)
            if failure is not None:
                self._to_resume.remove(trial)
                self._end(record, "failed", failure)
                continue
            verdict = self._verdict(record)
            record = record.model_copy(update={"rungs": verdict.passed})
            complete = record.epochs >= self._settings.training.epochs
            if verdict.reason is None and not complete:
                self.records[trial] = record
                continue
            self._to_resume.remove(trial)
            self._end(record, "stopped" if verdict.reason else "done", verdict.reason)

    def _verdict(self, record: TrialRecord) -> "_Verdict":
        """Compares the trial at every rung it has reached and not passed yet.

        A rung is judged once: `record.rungs` remembers those passed, so that later arrivals change nothing.
        """
        passed = list(record.rungs)
        for rung in rungs(self._settings.search.halving, self._settings.training.epochs):
            if rung > record.epochs or rung in passed:
                continue
            value = best_until(self.histories[record.trial], rung, self._metric)
            others = [
                best_until(history, rung, self._metric)
                for trial, history in self.histories.items()
                if trial != record.trial and len(history) >= rung
            ]
            if not survives(value, others, self._settings.search.halving.factor):
                rank = sum(other > value for other in others) + 1
                reason = f"{self._metric} {value:.4f} is rank {rank} of {len(others) + 1} at the rung of epoch {rung}"
                return _Verdict(passed, reason)
            passed.append(rung)
        return _Verdict(passed, None)

    def _with_progress(self, record: TrialRecord) -> TrialRecord:
        history = self.histories[record.trial]
        changes: dict[str, Any] = {"epochs": len(history)}
        devices = self._settings.resources.workers
        changes["device_seconds"] = devices * sum(float(row["seconds"]) for row in history)
        valued = [row for row in history if has_value(row, self._metric)]
        if valued:
            best = self._best_stored_epoch(record.trial, valued)
            changes["objectives"] = {self._metric: float(history[best - 1][self._metric])}
            changes["best_epoch"] = best
            changes["best_checkpoint"] = self._checkpoint_path(record.trial, best)
        return record.model_copy(update=changes)

    def _missing_value(self, trial: int) -> str | None:
        """Why a trial without a number to compare has failed."""
        for row in self.histories[trial]:
            if not has_value(row, self._metric):
                return f"{self._metric} is {row.get(self._metric)} at epoch {row['epoch']}: no number to compare"
        return None

    def _check_generation(self) -> None:
        """A driver whose lease was taken over must not write into its successor's ledger."""
        newest = self._folder.generation
        if newest != self._generation:
            where, found = self._folder.storage.full_path(), f"generation {newest} beside this driver's"
            raise StudyError(where, "a study has one driver at a time", found, "it goes on under the other driver")

    def _best_stored_epoch(self, trial: int, history: list[HistoryRow]) -> int:
        ranked = sorted(history, key=lambda row: (-float(row[self._metric]), int(row["epoch"])))
        stored = (int(row["epoch"]) for row in ranked if self._checkpoint_path(trial, int(row["epoch"])))
        return next(stored, int(ranked[0]["epoch"]))

    def _checkpoint_path(self, trial: int, epoch: int) -> str | None:
        return find_checkpoint(self._folder.storage, trial_folder(trial), epoch, until=self._generation)

    def _end(
        self, record: TrialRecord, state: Literal["done", "stopped", "failed"], reason: str | None
    ) -> Literal["stop"]:
        self._launched.discard(record.trial)
        self._record(record.model_copy(update={"state": state, "reason": reason, "finished": now()}), "recorded")
        return "stop"

    def _record(self, record: TrialRecord, event: Event | None = None) -> None:
        self._ledger.write(record)
        self.records[record.trial] = record
        if event is not None:
            self._notify(event, record)

    def _notify(self, event: Event, record: TrialRecord) -> None:
        for listener in self._listeners:
            listener(event, record, self.histories[record.trial])
