"""Asynchronous successive halving (ASHA, Li et al. 2020, 1810.05934), the form that stops trials.

At each rung a trial is compared with all trials that ever reached it, those of earlier driver starts included, since
their values come from the ledger. It goes on if it is among the best 1/factor (rounded up) seen there so far.
"""

from collections.abc import Mapping, Sequence

from intra_search.config.objectives import Objectives, Scores
from intra_search.config.search import HalvingSettings
from intra_search.search.stopping.rule import StoppingRule, Verdict
from intra_search.store.ledger import HistoryRow, TrialRecord


class Halving(StoppingRule):
    """Judges each trial once at every rung: `record.rungs` remembers those passed, so later arrivals change nothing."""

    def judge(self, record: TrialRecord, histories: Mapping[int, list[HistoryRow]]) -> Verdict:
        passed = list(record.rungs)
        halving = self._settings.search.halving
        for rung in rungs(halving, self._settings.training.epochs):
            if rung > record.epochs or rung in passed:
                continue
            own = self._objectives.best_until(histories[record.trial], rung)
            others = [
                self._objectives.best_until(history, rung)
                for trial, history in histories.items()
                if trial != record.trial and len(history) >= rung
            ]
            better = num_better(self._objectives, own, others)
            if better >= places(len(others) + 1, halving.factor):
                text = self._objectives.text(own)
                reason = f"{text} is rank {better + 1} of {len(others) + 1} at the rung of epoch {rung}"
                return Verdict(passed, reason)
            passed.append(rung)
        return Verdict(passed, None)


def rungs(settings: HalvingSettings, max_epochs: int) -> list[int]:
    """Epochs at which trials are compared: min_epochs * factor ** k below `max_epochs`."""
    epochs = []
    rung = settings.min_epochs
    while settings.enabled and rung < max_epochs:
        epochs.append(rung)
        rung *= settings.factor
    return epochs


def num_better(objectives: Objectives, own: Scores | None, others: Sequence[Scores | None]) -> int:
    """Trials that are better than one; equals are not, so they go on together."""
    return sum(objectives.dominates(other, own) for other in others)


def places(reached: int, factor: int) -> int:
    """How many of the trials that reached a rung go on: 1/factor of them, rounded up."""
    return -(-reached // factor)
