"""Brings the reports of Tune's trials to a work source, and its decisions back to Tune."""

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from intra_search.errors import IntraSearchError, StorageError
from intra_search.search.tune.searcher import number_of
from intra_search.search.work import Decision, WorkSource
from intra_search.training.failures import EndStudy, Fail, Failure, RestartPolicy, classify
from intra_search.training.report import REPORT, TrialReport


class WorkScheduler(FIFOScheduler):  # type: ignore[misc]
    """What Tune takes for a scheduler: it stops and restarts trials as the work source and the policy say."""

    def __init__(self, work: WorkSource, policy: RestartPolicy) -> None:
        super().__init__()
        self._work = work
        self._policy = policy
        self._failures: dict[int, list[Failure]] = {}
        self.error: IntraSearchError | None = None
        """Why no trial can go on."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its scheduler for its own restore, which we never use

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """A trial's worker died. Tune starts another one, unless the trial is stopped here."""
        number = number_of(trial)
        if not self._work.is_running(number):
            return
        failures = self._failures.setdefault(number, [])
        failures.append(classify(trial.get_pickled_error() or RuntimeError(trial.get_error() or "unknown")))
        decision = self._policy.decide(failures)
        if isinstance(decision, EndStudy):
            self._end_study(decision.error)
        elif isinstance(decision, Fail):
            limit = f"resources.max_restarts = {self._policy.max_restarts}"
            self._work.lost(number, f"its worker died {decision.times} times ({limit}); last: {decision.why}")
        else:
            return
        tune_controller.request_stop_trial(trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        if not self._work.is_running(number_of(trial)):
            return str(TrialScheduler.STOP)  # a report that was under way when the trial was ended
        return self._take(trial, result)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        # Called with a last report that `on_trial_result` has not seen, and again after each of our own stops.
        if self._work.is_running(number_of(trial)) and REPORT in result:
            self._take(trial, result)

    def _take(self, trial: Trial, result: dict[str, Any]) -> str:
        number, report = number_of(trial), TrialReport.of_json(result[REPORT])
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

    def _end_study(self, error: IntraSearchError) -> None:
        """The study itself cannot be written: no trial can go on."""
        self.error = error
        self._work.drain()
