"""The conductor of a search: hands out trials, takes their reports, decides, and writes the ledger.

It knows nothing of Ray. Everything it decides follows from the ledger, so a new conductor on the same ledger goes on
where a killed one stopped. Order of events for a trial: asked (record written, waiting), launched (running),
reported (history written), ended (record written), told (the sampler's next suggestion knows it).
"""

from collections.abc import Callable
from typing import Any, Literal

from intra_search.config.domains import identity
from intra_search.config.objectives import Objectives
from intra_search.config.space import Space
from intra_search.config.study import StudySettings
from intra_search.errors import SettingError, StudyError
from intra_search.search.adviser import Adviser
from intra_search.search.stopping.table import stopping_rule
from intra_search.search.work import Assignment, Decision
from intra_search.store.events import Note, Tell, TrialAsked, TrialEnded, TrialLaunched, TrialReported
from intra_search.store.ledger import TrialRecord, find_checkpoint, now, trial_folder
from intra_search.store.study_folder import StudyFolder
from intra_search.store.trial_state import TrialState
from intra_search.training.report import TrialReport


class Conductor:
    """Runs one search over one ledger, as a `WorkSource`; only it writes the ledger.

    Args:
        generation: of the driver start; the conductor stops when the study has a newer one.
        tell: called with each event after it has reached the ledger.
        clock: time of day for the records.
    """

    def __init__(
        self,
        folder: StudyFolder,
        settings: StudySettings,
        space: Space,
        generation: int,
        tell: Tell = lambda event: None,
        clock: Callable[[], str] = now,
    ) -> None:
        self._folder = folder
        self._ledger = folder.ledger
        self._settings = settings
        self._space = space
        self._generation = generation
        self._tell = tell
        self._clock = clock
        self._objectives = Objectives.of(settings)
        self._stopping = stopping_rule(settings)
        self._adviser = Adviser(space, settings)
        self.records = {record.trial: record for record in self._ledger.records()}
        self.histories = {trial: self._ledger.history(trial) for trial in self.records}
        self._to_resume = [record.trial for record in self.records.values() if record.state.is_live]
        self._launched: set[int] = set()
        self._attempts: dict[int, str] = {}
        self._crashes: dict[int, int] = {}
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
        assignment = None
        while assignment is None and not self.exhausted:
            if self._to_resume:
                record = self.records[self._to_resume.pop(0)]
                assignment = self._launch(record, restarts=record.restarts + (record.generation > 0))
            else:
                assignment = self._launch(self._ask(), restarts=0)
        return assignment

    def report(self, trial: int, report: TrialReport) -> Decision:
        """Takes a worker's report into the ledger and decides whether the trial goes on.

        A late report of a trial that has ended changes nothing. Raises `StudyError` when another driver took over.
        """
        if trial not in self._launched:
            return Decision.STOP
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
                self._tell(Note(f"trial {trial}: {text}"))
        record = self._with_progress(record.model_copy(update=changes))
        self.records[trial] = record
        self._tell(TrialReported(record, self.histories[trial]))
        failure = report.failure or self._missing_value(trial)
        if failure is not None:
            return self._end(record, TrialState.FAILED, failure)
        verdict = self._stopping.judge(record, self.histories)
        record = record.model_copy(update={"rungs": verdict.passed})
        if verdict.reason is not None:
            return self._end(record, TrialState.STOPPED, verdict.reason)
        if report.finished:
            return self._end(record, TrialState.DONE, None)
        if self._draining:
            self._launched.discard(trial)
            self._record(record.moved_to(TrialState.WAITING))
            return Decision.STOP
        self._record(record)
        return Decision.CONTINUE

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
            self._end(self.records[trial], TrialState.FAILED, reason)

    def give_back(self, trial: int) -> None:
        """Hands the trial out again, before any new one. Nothing changes for a trial that has ended or left."""
        if trial in self._launched:
            self._check_generation()
            self._launched.discard(trial)
            self._record(self.records[trial].moved_to(TrialState.WAITING))
            self._to_resume.append(trial)

    def _ask(self) -> TrialRecord:
        trial = max(self.records, default=-1) + 1
        tried = {identity(record.point) for record in self.records.values()}
        # By value, not by number: points that were added to the file of a study that goes on are tried too.
        fixed = next((point for point in self._space.points if identity(point) not in tried), None)
        point = self._adviser.suggest(trial, self.records.values(), self.histories) if fixed is None else fixed
        origin: Literal["point", "sampler"] = "sampler" if fixed is None else "point"
        waiting = TrialState.WAITING
        record = TrialRecord(trial=trial, state=waiting, point=point, origin=origin, created=self._clock())
        self.histories[trial] = []
        self._record(record)
        self._tell(TrialAsked(record))
        return record

    def _launch(self, record: TrialRecord, restarts: int) -> Assignment | None:
        """None for a trial that no settings can be made for."""
        settings = self._settings_of(record)
        if settings is None:
            return None
        record = record.moved_to(TrialState.RUNNING, generation=self._generation, restarts=restarts)
        self._launched.add(record.trial)
        self._record(record)
        self._tell(TrialLaunched(record))
        return Assignment(record.trial, self._generation, settings)

    def _settings_of(self, record: TrialRecord) -> StudySettings | None:
        """A trial's settings. Sets a trial aside as failed whose point makes none: values that break a rule together,
        or a record that was changed, or written before a rule was made."""
        try:
            return self._space.settings(record.point)
        except SettingError as error:
            self._end(record, TrialState.FAILED, f"its point makes no settings: {error}")
            self._tell(Note(f"trial {record.trial} is set aside as failed, since its point makes no settings: {error}"))
            return None

    def _settle_finished(self) -> None:
        """Ends trials whose last report reached the ledger while the driver died before it could record the end."""
        for trial in list(self._to_resume):
            record = self._with_progress(self.records[trial])
            failure = self._missing_value(trial)
            if failure is not None:
                self._to_resume.remove(trial)
                self._end(record, TrialState.FAILED, failure)
                continue
            if self._settings_of(record) is None:
                self._to_resume.remove(trial)
                continue
            verdict = self._stopping.judge(record, self.histories)
            record = record.model_copy(update={"rungs": verdict.passed})
            complete = record.epochs >= self._settings.training.epochs
            if verdict.reason is None and not complete:
                self.records[trial] = record
                continue
            self._to_resume.remove(trial)
            self._end(record, TrialState.STOPPED if verdict.reason else TrialState.DONE, verdict.reason)

    def _with_progress(self, record: TrialRecord) -> TrialRecord:
        history = self.histories[record.trial]
        changes: dict[str, Any] = {"epochs": len(history)}
        devices = self._settings.resources.workers
        changes["device_seconds"] = devices * sum(float(row["seconds"]) for row in history)
        ranked = self._objectives.ranked_epochs(history)
        if ranked:
            # An epoch can only be picked by its checkpoint; one that a kill cut short has none.
            stored = (epoch for epoch in ranked if self._checkpoint_path(record.trial, epoch))
            best = next(stored, ranked[0])
            changes["objectives"] = self._objectives.scores(history[best - 1])
            changes["best_epoch"] = best
            changes["best_checkpoint"] = self._checkpoint_path(record.trial, best)
        return record.model_copy(update=changes)

    def _missing_value(self, trial: int) -> str | None:
        """Why a trial without a number to compare has failed."""
        lacks = (self._objectives.lack(row) for row in self.histories[trial])
        return next((lack for lack in lacks if lack is not None), None)

    def _check_generation(self) -> None:
        """A driver whose lease was taken over must not write into its successor's ledger."""
        newest = self._folder.generation
        if newest != self._generation:
            where, found = self._folder.storage.full_path(), f"generation {newest} beside this driver's"
            raise StudyError(where, "a study has one driver at a time", found, "it goes on under the other driver")

    def _checkpoint_path(self, trial: int, epoch: int) -> str | None:
        return find_checkpoint(self._folder.storage, trial_folder(trial), epoch, until=self._generation)

    def _end(self, record: TrialRecord, state: TrialState, reason: str | None) -> Decision:
        self._launched.discard(record.trial)
        record = record.moved_to(state, reason=reason, finished=self._clock())
        self._record(record)
        self._tell(TrialEnded(record, self.histories[record.trial]))
        return Decision.STOP

    def _record(self, record: TrialRecord) -> None:
        self._ledger.write(record)
        self.records[record.trial] = record
