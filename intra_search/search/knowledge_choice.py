"""`knowledge.mode = auto`: whether answering every view once costs the whole search less than a live teacher."""

import random
from typing import Any, Literal, NamedTuple

from intra_search.cluster.capacity import Cluster
from intra_search.config.space import Space
from intra_search.config.study import StudySettings
from intra_search.config.study_file import StudyPlan
from intra_search.distill.loss import needs_of
from intra_search.distill.needs import Need
from intra_search.search.halving import rungs
from intra_search.search.preparation import Observer, Teacher
from intra_search.store.study_folder import StudyFolder
from intra_search.training.costs import ViewCosts

FILE = "knowledge_mode.json"
NUM_SAMPLES = 200
"""Settings drawn from the space to see how many of its trials distil at all."""

Mode = Literal["stored", "live"]


class Amount(NamedTuple):
    """How much of everything a search does."""

    scenes: int
    views: int
    """Per scene."""
    trials: float
    """Trials that distil, as far as the space tells."""
    epochs: float
    """Of one trial on average, when halving stops as many as it is made to."""


class Choice(NamedTuple):
    """The decision and its reason in one line."""

    mode: Mode
    why: str


def knowledge_mode(
    folder: StudyFolder, plan: StudyPlan, teacher: Teacher, needs: frozenset[Need], cluster: Cluster, observer: Observer
) -> Mode:
    """The study's way to the teacher's answers. `auto` decides once; a study that goes on keeps its decision."""
    settings = plan.settings
    if settings.knowledge.mode != "auto":
        if settings.knowledge.mode == "live":
            observer.note("the teacher runs live in every step (knowledge.mode = live)")
        return settings.knowledge.mode
    if folder.storage.exists(FILE):
        choice = Choice(**folder.storage.read_json(FILE)["choice"])
    else:
        choice, about = _decide(folder, plan, teacher, needs, cluster)
        folder.storage.write_json(FILE, {"choice": choice._asdict(), **about})
    observer.note(f"knowledge.mode = auto: {choice.why}")
    return choice.mode


def _decide(
    folder: StudyFolder, plan: StudyPlan, teacher: Teacher, needs: frozenset[Need], cluster: Cluster
) -> tuple[Choice, dict[str, Any]]:
    from intra_search.scenes.scene_set import open_scenes
    from intra_search.training.worker import measure_on_cluster

    settings = plan.settings
    if settings.scenes.views == "fresh":
        return Choice("live", "live, since fresh views are seen once"), {}
    settings = distilling_settings(plan.space)
    cpus, gpus = settings.resources.cpus_per_worker, cluster.trial_gpus / settings.resources.workers
    costs = measure_on_cluster(folder.storage.uri, teacher.checkpoint, settings, needs, cpus=cpus, gpus=gpus)
    scenes = len(open_scenes(settings.scenes, "train"))
    share = distilling_share(plan.space, plan.settings.seed)
    trials, epochs = share * plan.settings.search.num_trials, mean_epochs(plan.settings)
    amount = Amount(scenes, int(settings.scenes.views), trials, epochs)
    return choose(costs, amount), {"seconds_per_view": costs._asdict(), "amount": amount._asdict()}


def choose(costs: ViewCosts, amount: Amount) -> Choice:
    """Compares device seconds of the whole search: every view answered once, or the teacher asked in every step."""
    extraction = costs.extraction * amount.scenes * amount.views
    steps = amount.trials * amount.epochs * amount.scenes
    stored, live = extraction + costs.stored_step * steps, costs.live_step * steps
    mode: Mode = "stored" if stored < live else "live"
    bills = [f"{_time(stored)} stored ({_time(extraction)} to answer all views)", f"{_time(live)} live"]
    cheap, dear = bills if mode == "stored" else bills[::-1]
    step = f"a view of a step takes {1000 * costs.stored_step:.3g} ms stored and {1000 * costs.live_step:.3g} ms live"
    about = f"about {amount.trials:.3g} distilling trials of {amount.epochs:.3g} epochs"
    return Choice(mode, f"{mode}, since {about} take {cheap} and {dear}; {step}")


def distilling_share(space: Space, seed: int) -> float:
    """Share of the space's trials that ask the teacher, from settings drawn at random."""
    rng = random.Random(seed)
    drawn = [space.settings(space.sample(rng)) for _ in range(NUM_SAMPLES if space.domains else 1)]
    return sum(bool(needs_of(settings.distill)) for settings in drawn) / len(drawn)


def distilling_settings(space: Space) -> StudySettings:
    """Settings of the first trial that asks the teacher: the paper's recipe, unless the space forbids it."""
    rng = random.Random(0)
    points = [*space.points, *(space.sample(rng) for _ in range(NUM_SAMPLES))]
    found = (space.settings(point) for point in points)
    return next((settings for settings in found if needs_of(settings.distill)), space.base)


def mean_epochs(settings: StudySettings) -> float:
    """Epochs of a trial on average, when 1/factor of those at each rung go on."""
    halving = settings.search.halving
    stops = [*rungs(halving, settings.training.epochs), settings.training.epochs]
    begins = [0, *stops[:-1]]
    shares = [float(halving.factor) ** -passed for passed in range(len(stops))]
    return sum(share * (end - begin) for share, begin, end in zip(shares, begins, stops, strict=True))


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
