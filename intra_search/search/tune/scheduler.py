"""Brings the reports of Tune's trials to a work source, and its decisions back to Tune."""

import pickle
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from intra_search.errors import StorageError
from intra_search.search.tune.searcher import number_of
from intra_search.search.work import Decision, WorkSource
from intra_search.training.failures import EndStudy, Fail, Failure, RestartPolicy, classify
from intra_search.training.report import REPORT, TrialReport


class WorkScheduler(FIFOScheduler):  # type: ignore[misc]
    """What Tune takes for a scheduler: it stops and restarts trials as the work source and the policy say.

    Tune restarts the worker of a trial without end; what the policy gives up is stopped before it begins again.
    """

    def __init__(self, work: WorkSource, policy: RestartPolicy) -> None:
        super().__init__()
        self._work = work
        self._policy = policy
        self._failures: dict[int, list[Failure]] = {}
        self._num_reports: dict[int, int] = {}
        self.error: Exception | None = None
        """Why no trial can go on."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its scheduler for its own restore, which we never use

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """A trial's worker died. Called whether or not Tune will start another one."""
        number = number_of(trial)
        if not self._work.is_running(number):
            return
        failures = self._failures.setdefault(number, [])
        failures.append(classify(last_error(trial), progress=self._num_reports.get(number, 0)))
        decision = self._policy.decide(failures)
        if isinstance(decision, EndStudy):
            self._end_study(decision.error)
        elif isinstance(decision, Fail):
            times = f"{decision.times} times"
            if decision.times > self._policy.max_restarts:
                times += f" (resources.max_restarts = {self._policy.max_restarts})"
            self._work.lost(number, f"its worker died {times}; last: {decision.why}")

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Called for a new trial, and for one whose worker died and that Tune is about to start again."""
        super().on_trial_add(tune_controller, trial)
        number = number_of(trial)
        if number in self._failures and (self.error is not None or not self._work.is_running(number)):
            tune_controller.stop_trial(trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        if not self._work.is_running(number_of(trial)):
            return str(TrialScheduler.STOP)  # a report that was under way when the trial was ended
        return self._take(trial, result)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        # Called with a last report that `on_trial_result` has not seen, and again after each of our own stops.
        if self._work.is_running(number_of(trial)) and REPORT in result:
            try:
                self._take(trial, result)
            except Exception as error:  # Tune would take it for a failure of the trial, and start that again
                self._end_study(error)

    def _take(self, trial: Trial, result: dict[str, Any]) -> str:
        number, report = number_of(trial), TrialReport.of_json(result[REPORT])
        self._num_reports[number] = self._num_reports.get(number, 0) + 1
        if report.storage_error is not None:
            self._end_study(StorageError(*report.storage_error))
            return str(TrialScheduler.STOP)
        if report.final and not report.finished:
            self._work.lost(number, "its workers left without a report of its end")
            return str(TrialScheduler.STOP)
        decision = self._work.report(number, report)
        # A trial that has finished leaves by itself; stopping it would kill a group while it cleans up.
        goes_on = not report.final and (decision is Decision.CONTINUE or report.finished)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def _end_study(self, error: Exception) -> None:
        """The study cannot be written, or the search itself has failed: no trial can go on."""
        self.error = error
        self._work.drain()


def last_error(trial: Trial) -> Exception:
    """What ended a trial's worker the last time, from the files that Tune has just written on this machine.

    `Trial.get_pickled_error` reads a copy that Tune makes of them every now and then, so an older error or none.
    """
    try:
        error = pickle.loads(Path(trial.pickled_error_file or "").read_bytes())
    except Exception:  # none, or one that cannot be pickled: its text is there
        return RuntimeError(_last_text(trial))
    return error if isinstance(error, Exception) else RuntimeError(_last_text(trial))


def _last_text(trial: Trial) -> str:
    """In one line; Tune appends the text of every failure to a file."""
    try:
        text = Path(trial.error_file or "").read_text(encoding="utf-8")
    except OSError:
        return "unknown"
    _, _, last = text.rpartition("Failure #")[2].partition("\n")
    return " ".join(last.split()) or "unknown"
