"""Optuna as the adviser: it suggests points and is told results. It is rebuilt from the ledger at every start."""

import logging
import warnings
from collections.abc import Iterable

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, create_trial

from intra_search.config.domains import Scalar, identity
from intra_search.config.objectives import Direction, Objective, Objectives
from intra_search.config.seeding import derived_seed
from intra_search.config.space import Point, Space
from intra_search.config.study import StudySettings
from intra_search.store.ledger import HistoryRow, TrialRecord

ASKED_FOR_NEW = 20
"""Most attempts to get a point that no trial has: in a small space a sampler repeats itself."""

logger = logging.getLogger(__name__)


class Adviser:
    """Suggests the next point from all that the ledger says.

    The model is built anew from the records for every suggestion, and its sampler seeded by (study seed, trial
    number): a suggestion depends on the ledger alone, not on what this process did before. Rebuilding 10,000 trials
    takes about 3 s; trials that are told once are kept between suggestions.
    """

    def __init__(self, space: Space, settings: StudySettings) -> None:
        self._space = space
        self._settings = settings
        self._objective = Objectives.of(settings).lead
        self._finished: dict[int, FrozenTrial] = {}

    def suggest(self, trial: int, records: Iterable[TrialRecord], histories: dict[int, list[HistoryRow]]) -> Point:
        """A point for trial `trial`, given the records of all others: a new one, unless all asked for have been taken.

        A repeated point (the space is nearly used up) is still trained with its own trial's seed.
        """
        records = [record for record in records if record.trial != trial]
        study = optuna.create_study(direction=direction_of(self._objective), sampler=self._sampler(trial))
        told = [self._told(record, histories.get(record.trial, [])) for record in records]
        study.add_trials([frozen for frozen in told if frozen is not None])
        taken = {identity(record.point) for record in records}
        for _ in range(ASKED_FOR_NEW):
            point = self._space.walk(_OptunaAsker(study.ask()))
            if identity(point) not in taken:
                break
        return point

    def _told(self, record: TrialRecord, history: list[HistoryRow]) -> FrozenTrial | None:
        if record.trial in self._finished:
            return self._finished[record.trial]
        frozen = told_trial(self._space, record, history, self._objective)
        if frozen is not None and frozen.state.is_finished():
            self._finished[record.trial] = frozen
        return frozen

    def _sampler(self, trial: int) -> optuna.samplers.BaseSampler:
        seed = derived_seed(self._settings.seed, "sampler", trial) % 2**32
        if self._settings.search.sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        with warnings.catch_warnings():
            # multivariate and group are what conditional spaces need; Optuna calls them experimental since 2.2.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return self._tpe(seed)

    def _tpe(self, seed: int) -> optuna.samplers.TPESampler:
        # group: one model per branch of a conditional space; constant_liar: trials in flight repel new ones.
        return optuna.samplers.TPESampler(
            n_startup_trials=self._settings.search.startup_trials,
            multivariate=True,
            group=True,
            constant_liar=True,
            seed=seed,
        )


def direction_of(objective: Objective) -> StudyDirection:
    """The objective's direction in Optuna's words."""
    return StudyDirection.MAXIMIZE if objective.direction is Direction.MAX else StudyDirection.MINIMIZE


def told_trial(
    space: Space, record: TrialRecord, history: list[HistoryRow], objective: Objective
) -> FrozenTrial | None:
    """A ledger record in Optuna's words; None for a point outside the space, which may have changed since.

    What is told of each state stands in `TrialState`.
    """
    if not space.holds(record.point):
        logger.info("Leaving trial %d out of the sampler's view: its point lies outside the space now", record.trial)
        return None
    replay = _ReplayAsker(space.encode(record.point))
    space.walk(replay)
    value = record.objectives.get(objective.metric) if record.state.told_with == "value" else None
    intermediate: dict[int, float] = {}
    if record.state.told_with == "curve":
        intermediate = {int(row["epoch"]): float(row[objective.metric]) for row in history}
    state = optuna.trial.TrialState[record.state.told]
    return create_trial(
        state=state,
        value=value,
        params=replay.params,
        distributions=replay.distributions,
        intermediate_values=intermediate,
        user_attrs={"trial": record.trial},
    )


class _OptunaAsker:
    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial

    def float(self, name: str, low: float, high: float, *, log: bool) -> float:
        return self._trial.suggest_float(name, low, high, log=log)

    def int(self, name: str, low: int, high: int, *, log: bool, step: int) -> int:
        return self._trial.suggest_int(name, low, high, step=step, log=log)

    def choice(self, name: str, options: tuple[Scalar, ...]) -> Scalar:
        return self._trial.suggest_categorical(name, options)


class _ReplayAsker:
    """Answers with known values and notes the distributions they were asked from."""

    def __init__(self, answers: dict[str, Scalar]) -> None:
        self._answers = answers
        self.params: dict[str, Scalar] = {}
        self.distributions: dict[str, BaseDistribution] = {}

    def float(self, name: str, low: float, high: float, *, log: bool) -> float:
        return float(self._known(name, FloatDistribution(low, high, log=log)))  # type: ignore[arg-type]

    def int(self, name: str, low: int, high: int, *, log: bool, step: int) -> int:
        return int(self._known(name, IntDistribution(low, high, log=log, step=step)))  # type: ignore[arg-type]

    def choice(self, name: str, options: tuple[Scalar, ...]) -> Scalar:
        return self._known(name, CategoricalDistribution(options))

    def _known(self, name: str, distribution: BaseDistribution) -> Scalar:
        self.distributions[name] = distribution
        self.params[name] = self._answers[name]
        return self._answers[name]
