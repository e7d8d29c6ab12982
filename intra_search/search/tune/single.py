"""Trials of one worker: each runs in one of Tune's actors, which are used again for the next trial."""

import traceback
from typing import TYPE_CHECKING, Any

from ray import tune

from intra_search.training.failures import Cause, EndStudy, Fail, Failure, RestartPolicy, classify
from intra_search.training.job import TrainingJob
from intra_search.training.report import TrialReport, message

if TYPE_CHECKING:
    from intra_search.training.loop import Training


class StudentTrainable(tune.Trainable):  # type: ignore[misc]
    """Trials one after another in one process: imports, decoded scenes and mapped knowledge stay."""

    def setup(self, config: dict[str, Any]) -> None:
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        # The training is built in `step`, where an error can be reported: here it would end the actor.
        self._config = new_config
        self._job: TrainingJob | None = None
        self._training: Training | None = None
        self._failures: list[Failure] = []
        return True

    def step(self) -> dict[str, Any]:
        """One epoch, tried again as `RestartPolicy` says."""
        while True:
            try:
                report = self._run_epoch()
            except Exception as error:
                ended = self._failed(error)
                if ended is not None:
                    return {**message(ended), "done": True}
            else:
                return {**message(report), "done": report.finished}

    def _run_epoch(self) -> TrialReport:
        import torch

        from intra_search.training.loop import Training
        from intra_search.training.worker import report_of

        if self._job is None:
            self._job = TrainingJob.of_json(self._config["job"])
        if self._training is None:
            torch.set_num_threads(max(1, int(self._job.settings.resources.cpus_per_worker)))
            self._training = Training(self._job, use_gpu=self._config["use_gpu"])
        if not self._training.finished:
            self._training.run_epoch()
        return report_of(self._training, restarts=len(self._failures))

    def _failed(self, error: Exception) -> TrialReport | None:
        """The trial's last report; None when it goes on from its newest checkpoint."""
        history = self._training.history if self._training else []
        self._failures.append(classify(error, progress=len(history)))
        decision = self._policy().decide(self._failures)
        if isinstance(decision, EndStudy):
            return TrialReport.of_storage_error(decision.error)
        if isinstance(decision, Fail):
            is_known = self._failures[-1].cause is not Cause.UNKNOWN
            return self._ended(decision.why if is_known else traceback.format_exc())
        self._training = None
        return None

    def _policy(self) -> RestartPolicy:
        return RestartPolicy(self._job.settings.resources.max_restarts if self._job else 0)

    def _ended(self, failure: str) -> TrialReport:
        from intra_search.training.worker import report_of

        if self._training is None:
            return TrialReport.of_failure(failure, restarts=len(self._failures) - 1)
        return report_of(self._training, failure=failure, restarts=len(self._failures) - 1)
