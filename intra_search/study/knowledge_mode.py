"""Step: stored or live knowledge; `auto` compares answering every view once with a live teacher in every step."""

import contextlib
import random
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

from intra_search.config.space import Point, Space
from intra_search.config.study import StudySettings
from intra_search.distill.unlabelled import asked_of, labelled_in_batch
from intra_search.errors import SettingError
from intra_search.search.stopping.halving import rungs
from intra_search.store.artefacts import KnowledgeChoice, KnowledgeChoiceRecord, Teacher
from intra_search.study.context import StudyContext
from intra_search.study.teacher import plans
from intra_search.training.costs import ViewCosts

NUM_SAMPLES = 200
"""Settings drawn from the space to estimate the share of its trials that distil."""


class Amount(NamedTuple):
    """How much of everything a search does."""

    scenes: int
    views: int
    """Per scene."""
    trials: float
    """Trials that distil, estimated from the space."""
    epochs: float
    """Of one trial on average, when halving stops the share that its factor says."""
    teachers: int = 1
    """Each answers every view."""
    unlabelled: int = 0
    """Frames without labels."""
    views_per_scene: float = 1.0
    """Views of an epoch's steps for each scene with labels; above 1 where frames without labels fill the batches."""


def ensure(context: StudyContext, teacher: Teacher) -> Literal["stored", "live"]:
    """The study's way to the teacher's answers, "stored" or "live". `auto` decides once; a study that goes on keeps its
    decision."""
    mode = context.settings.knowledge.mode
    if mode != "auto":
        if mode == "live":
            context.note("the teacher runs live in every step (knowledge.mode = live)")
        return mode
    record = context.folder.knowledge_choice.find() or context.folder.knowledge_choice.write(_decide(context, teacher))
    context.note(f"knowledge.mode = auto: {record.choice.why}")
    return record.choice.mode


def _decide(context: StudyContext, teacher: Teacher) -> KnowledgeChoiceRecord:
    from intra_search.scenes.scene_set import open_scenes
    from intra_search.training.worker import measure_on_cluster

    settings, space, cluster = context.settings, context.plan.space, context.cluster
    if settings.scenes.views == "fresh":
        return KnowledgeChoiceRecord(choice=KnowledgeChoice(mode="live", why="live, since fresh views are seen once"))
    distilling = distilling_settings(space)
    cpus, gpus = distilling.resources.cpus_per_worker, cluster.trial_gpus / distilling.resources.workers
    needs = context.needs | context.unlabelled_needs
    costs = measure_on_cluster(context.folder.storage.uri, teacher.checkpoint, distilling, needs, cpus=cpus, gpus=gpus)
    amount = Amount(
        scenes=len(open_scenes(settings.scenes, "train")),
        views=int(settings.scenes.views),
        trials=distilling_share(space, settings.seed) * settings.search.num_trials,
        epochs=mean_epochs(settings),
        teachers=len(plans(context.plan)),
        **_unlabelled(settings),
    )
    return KnowledgeChoiceRecord(
        choice=choose(costs, amount), seconds_per_view=costs._asdict(), amount=amount._asdict()
    )


def _unlabelled(settings: StudySettings) -> dict[str, Any]:
    from intra_search.scenes.unlabelled_set import open_unlabelled

    frames = open_unlabelled(settings.scenes)
    if frames is None:
        return {}
    size = settings.training.batch_size
    return {"unlabelled": len(frames), "views_per_scene": size / labelled_in_batch(size, settings.scenes)}


def choose(costs: ViewCosts, amount: Amount) -> KnowledgeChoice:
    """Compares device seconds of the whole search: every view answered once, or the teacher asked in every step."""
    extraction = costs.extraction * (amount.scenes + amount.unlabelled) * amount.views * amount.teachers
    steps = amount.trials * amount.epochs * amount.scenes * amount.views_per_scene
    stored, live = extraction + costs.stored_step * steps, costs.live_step * steps
    mode: Literal["stored", "live"] = "stored" if stored < live else "live"
    bills = [f"{_time(stored)} stored ({_time(extraction)} to answer all views)", f"{_time(live)} live"]
    cheap, dear = bills if mode == "stored" else bills[::-1]
    step = f"a view of a step takes {1000 * costs.stored_step:.3g} ms stored and {1000 * costs.live_step:.3g} ms live"
    about = f"about {amount.trials:.3g} distilling trials of {amount.epochs:.3g} epochs"
    return KnowledgeChoice(mode=mode, why=f"{mode}, since {about} take {cheap} and {dear}; {step}")


def distilling_share(space: Space, seed: int) -> float:
    """Share of the space's trials that ask the teacher, from settings drawn at random."""
    rng = random.Random(seed)
    drawn = list(_usable(space, (space.sample(rng) for _ in range(NUM_SAMPLES if space.domains else 1))))
    return sum(asked_of(settings).anything for settings in drawn) / len(drawn) if drawn else 0.0


def distilling_settings(space: Space) -> StudySettings:
    """Settings of the first trial that asks the teacher: the paper's recipe, unless the space forbids it."""
    rng = random.Random(0)
    points = [*space.points, *(space.sample(rng) for _ in range(NUM_SAMPLES))]
    return next((settings for settings in _usable(space, points) if asked_of(settings).anything), space.base)


def _usable(space: Space, points: Iterable[Point]) -> Iterator[StudySettings]:
    """Settings of those points whose values may stand together; trials of others fail."""
    for point in points:
        with contextlib.suppress(SettingError):
            yield space.settings(point)


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
