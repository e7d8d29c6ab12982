"""Asynchronous successive halving (ASHA, Li et al. 2020, 1810.05934), the stopping form for one objective.

At each rung a trial is compared with all trials that ever reached it, those of earlier driver starts included, since
their values come from the ledger. It goes on if it is among the best 1/factor (rounded up) seen there so far.
"""

import math
from collections.abc import Sequence

from intra_search.config.search import HalvingSettings
from intra_search.store.ledger import HistoryRow


def rungs(settings: HalvingSettings, max_epochs: int) -> list[int]:
    """Epochs at which trials are compared: min_epochs * factor ** k below `max_epochs`."""
    epochs = []
    rung = settings.min_epochs
    while settings.enabled and rung < max_epochs:
        epochs.append(rung)
        rung *= settings.factor
    return epochs


def best_until(history: Sequence[HistoryRow], epoch: int, metric: str) -> float:
    """Highest finite value of a metric in the first `epoch` epochs; -inf when there is none."""
    return max((float(row[metric]) for row in history[:epoch] if has_value(row, metric)), default=-math.inf)


def has_value(row: HistoryRow, metric: str) -> bool:
    """Whether a finished epoch has a finite value of a metric; a validation without a valid pixel has none."""
    value = row.get(metric)
    return isinstance(value, int | float) and math.isfinite(value)


def survives(value: float, others: Sequence[float], factor: int) -> bool:
    """Whether a trial goes on past a rung, given the values that other trials had there; equals survive together."""
    better = sum(other > value for other in others)
    allowed = -(-(len(others) + 1) // factor)
    return better < allowed
