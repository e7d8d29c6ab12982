"""What a search improves: objectives with a direction and limits, and how trials are compared by them.

All comparisons of trials and of epochs are made here; "better" never stands for "larger" anywhere else.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from intra_search.config.study import StudySettings

Row = Mapping[str, Any]
"""One finished epoch: metric to value, with its number under "epoch" (1, 2, …)."""
Scores = dict[str, float]
"""Value of each objective (and of each metric with a limit, where it is known), all of one epoch."""


class Direction(StrEnum):
    """Which way a metric improves."""

    MAX = "max"
    MIN = "min"


class Objective(NamedTuple):
    """A metric that a search improves."""

    metric: str
    direction: Direction = Direction.MAX

    def value(self, row: Row) -> float | None:
        """The metric's value in a row; None when it is missing or not finite (a validation without valid pixels)."""
        value = row.get(self.metric)
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            return None
        return float(value)

    def gain(self, value: float) -> float:
        """The value, negated where smaller is better: a larger gain is always better."""
        return value if self.direction is Direction.MAX else -value

    def better(self, value: float, other: float) -> bool:
        return self.gain(value) > self.gain(other)

    def best(self, values: Iterable[float]) -> float | None:
        """The best of some values; None when there is none."""
        return max(values, key=self.gain, default=None)

    def text(self, value: float | None) -> str:
        """Metric and value for a person: "val/miou 0.2366"."""
        return f"{self.metric} {value_text(value)}"


class Limit(NamedTuple):
    """A wall: a metric must be at most, or at least, some value."""

    metric: str
    most: float | None = None
    least: float | None = None

    def excess(self, value: float) -> float:
        """How far a value lies beyond the limit, as a share of the limit, so that excesses of several metrics can be
        added; 0 when the limit is kept."""
        above = 0.0 if self.most is None else (value - self.most) / (abs(self.most) or 1.0)
        below = 0.0 if self.least is None else (self.least - value) / (abs(self.least) or 1.0)
        return max(above, below, 0.0)


class Objectives(NamedTuple):
    """Everything by which one study compares its trials. One objective and no limit is the usual case."""

    objectives: tuple[Objective, ...]
    limits: tuple[Limit, ...] = ()

    @classmethod
    def of(cls, settings: StudySettings) -> "Objectives":
        """The objectives of a study's settings."""
        return cls.of_metrics(settings.search.objectives)

    @classmethod
    def of_metrics(cls, metrics: Iterable[str]) -> "Objectives":
        """Objectives as `search.objectives` names them. Every metric that can be named there is maximised."""
        return cls(tuple(Objective(metric) for metric in metrics))

    @property
    def lead(self) -> Objective:
        """The first objective: what networks of any size are compared by (teacher, plain student, baselines)."""
        return self.objectives[0]

    def scores(self, row: Row) -> Scores | None:
        """The values of one epoch; None unless every objective has one."""
        values = {objective.metric: objective.value(row) for objective in self.objectives}
        values |= {limit.metric: Objective(limit.metric).value(row) for limit in self.limits}
        known = {metric: value for metric, value in values.items() if value is not None}
        return known if all(objective.metric in known for objective in self.objectives) else None

    def lack(self, row: Row) -> str | None:
        """Why an epoch cannot be compared, in words; None when it can."""
        for objective in self.objectives:
            if objective.value(row) is None:
                found = row.get(objective.metric)
                return f"{objective.metric} is {found} at epoch {row['epoch']}: no number to compare"
        return None

    def ranked_epochs(self, history: Sequence[Row]) -> list[int]:
        """Numbers of the epochs that have scores, best first, of equals the earlier first.

        Limits first, then the objectives in their order: a training keeps one best checkpoint, so one order is needed.
        """
        scored = [(scores, int(row["epoch"])) for row in history if (scores := self.scores(row)) is not None]
        return [epoch for _, epoch in sorted(scored, key=lambda pair: (self.order(pair[0]), pair[1]))]

    def best_epoch(self, history: Sequence[Row]) -> int:
        """Number of the best epoch of a history that has one at least; the first epoch when none has scores."""
        return next(iter(self.ranked_epochs(history)), int(history[0]["epoch"]))

    def best_until(self, history: Sequence[Row], epoch: int) -> Scores | None:
        """Scores of the best of the first `epoch` epochs, all of that one epoch; None when none has scores."""
        if len(self.objectives) == 1 and not self.limits:  # asked of every trial at each rung, so without detours
            best = self.lead.best(value for row in history[:epoch] if (value := self.lead.value(row)) is not None)
            return None if best is None else {self.lead.metric: best}
        scored = (scores for row in history[:epoch] if (scores := self.scores(row)) is not None)
        return min(scored, key=self.order, default=None)

    def dominates(self, scores: Scores | None, others: Scores | None) -> bool:
        """Whether the first scores are better: they break limits by less, or break none and are at least as good in
        every objective and better in one. None, a trial without scores, is dominated by all others."""
        if scores is None or others is None:
            return scores is not None
        excess, other_excess = self._excess(scores), self._excess(others)
        if excess != other_excess:
            return excess < other_excess
        gains = [
            objective.gain(scores[objective.metric]) - objective.gain(others[objective.metric])
            for objective in self.objectives
        ]
        return min(gains) >= 0 and max(gains) > 0

    def order(self, scores: Scores) -> tuple[float, ...]:
        """Sort key, best first: limits, then the objectives in their order."""
        return (self._excess(scores), *(-objective.gain(scores[objective.metric]) for objective in self.objectives))

    def text(self, scores: Scores | None) -> str:
        """Scores for a person: "val/miou 0.2366"; several with commas."""
        return ", ".join(objective.text((scores or {}).get(objective.metric)) for objective in self.objectives)

    def _excess(self, scores: Scores) -> float:
        return sum(limit.excess(scores[limit.metric]) for limit in self.limits if limit.metric in scores)


def value_text(value: float | None) -> str:
    """A value for a person: four decimals, or "none"."""
    return "none" if value is None else f"{value:.4f}"
