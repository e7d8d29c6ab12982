"""Settings of the search."""

from typing import Literal, Self

from pydantic import Field, model_validator

from intra_search.config.base import BrokenRuleError, Settings


class HalvingSettings(Settings):
    """Asynchronous successive halving (ASHA): a trial goes on past a rung if it is among the best 1/factor there."""

    enabled: bool = True
    min_epochs: int = Field(default=1, ge=1)
    """Epochs of the lowest rung; the next lie at min_epochs * factor, * factor squared, ..."""
    factor: int = Field(default=3, ge=2)


Metric = Literal["val/miou", "val/official_miou", "val/f1", "val/mean_ap"]
OFFICIAL_METRICS: dict[str, str] = {
    "val/official_miou": "apolloscape",
    "val/f1": "culane",
    "val/mean_ap": "llamas",
}
"""Metrics of whole frames by a benchmark's own rules, and the data set that each belongs to."""


class SearchSettings(Settings):
    """How the space is searched."""

    num_trials: int = Field(default=16, ge=1)
    """Trials in all; a larger number extends a finished study."""
    objectives: tuple[Metric, ...] = ("val/miou",)
    """What is maximised, and what decides which epoch is the best. `val/miou` is taken at the network's input size; a
    benchmark's own metric (val/official_miou ApolloScape, val/f1 CULane, val/mean_ap LLAMAS) on whole frames, which
    costs their decoding at each validation."""
    sampler: Literal["tpe", "random"] = "tpe"
    startup_trials: int = Field(default=8, ge=1)
    """Trials drawn at random before TPE has a model."""
    halving: HalvingSettings = HalvingSettings()
    twin: bool = True
    """When the trials are over, train the pick's plain twin: its settings and its seed without distillation. So the
    study says what the teacher was worth. Not for a plain pick, nor in a study of one trial, whose cost it would
    double."""
    max_concurrent: int | None = Field(default=None, ge=1)
    """Trials at a time; none: as many as the cluster holds."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.objectives) != 1:
            remedy = "name one"
            raise BrokenRuleError("search.objectives", "must name exactly one metric", list(self.objectives), remedy)
        return self
