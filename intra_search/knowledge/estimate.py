"""Estimates for stored answers: their size, from shapes alone, and the time they save, from a few timed passes."""

import functools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from intra_search.config.study import StudySettings
from intra_search.distill.needs import Need, teacher_answers
from intra_search.distill.unlabelled import needs_without_labels, unlabelled_in_batch
from intra_search.knowledge.answering import stored_forms
from intra_search.networks.build import build_network
from intra_search.networks.input import normalise
from intra_search.networks.output import NetworkOutput
from intra_search.networks.placement import Placement, place
from intra_search.networks.timing import quickest

TIMED_SECONDS = 2.0
"""Passes of a network are repeated until they took this long together, at most `MAX_PASSES` times."""
MAX_PASSES = 5


class Bill(NamedTuple):
    """Device seconds of one search, with stored answers and with a live teacher."""

    extraction: float
    students: float
    """All trials trained to their last epoch, without a teacher."""
    live_teacher: float
    """Time that a live teacher would add, if all trials distil."""

    @property
    def stored(self) -> float:
        return self.extraction + self.students

    @property
    def live(self) -> float:
        return self.students + self.live_teacher


def answer_bytes(settings: StudySettings, needs: Iterable[Need], num_classes: int) -> dict[str, int]:
    """Bytes of every stored answer about one view, by name, without checksums.

    The teacher is not run: its shapes come from torch's meta device, and its answers from zeros of those shapes.
    """
    wanted = frozenset(needs)
    height, width = settings.scenes.height, settings.scenes.width
    with torch.device("meta"):
        teacher = build_network(settings.teacher.network, num_classes, **settings.teacher.options.model_dump())
        output = teacher.eval()(torch.empty(1, 3, height, width))
    features = {name: torch.zeros(feature.shape) for name, feature in output.features.items()}
    zeros = NetworkOutput(torch.zeros(output.logits.shape), features)
    labels = torch.zeros(1, height, width, dtype=torch.uint8)
    answers = teacher_answers(wanted, zeros, labels, num_classes)
    forms = stored_forms(wanted, answers)
    width_of = {
        name: 1 if answer.dtype == torch.bool else forms[name].dtype.itemsize for name, answer in answers.items()
    }
    return {name: answer.numel() * width_of[name] for name, answer in answers.items()}


def total_bytes(
    settings: StudySettings, needs: frozenset[Need], *, num_classes: int, num_scenes: int, num_unlabelled: int = 0
) -> int:
    """Bytes of all stored answers: what `needs` ask about labelled frames, and what follows for those without labels.

    `num_unlabelled`: frames without labels, if trials train on them."""
    others = needs_without_labels(needs, settings.scenes)
    parts = [(asked, count) for asked, count in [(needs, num_scenes), (others, num_unlabelled)] if asked and count]
    per_view = [count * sum(answer_bytes(settings, asked, num_classes).values()) for asked, count in parts]
    return sum(per_view) * int(settings.scenes.views)


def excess(
    settings: StudySettings,
    needs: frozenset[Need],
    *,
    num_classes: int,
    num_scenes: int,
    num_unlabelled: int = 0,
    is_local: bool,
) -> str | None:
    """Why the answers would be too large to store, in a few words; None when they are not.

    `is_local`: the store can be memory-mapped where it is; else each machine copies it.
    """
    counts = {"num_classes": num_classes, "num_scenes": num_scenes, "num_unlabelled": num_unlabelled}
    total = total_bytes(settings, needs, **counts)
    limits = {"knowledge.max_gb": settings.knowledge.max_gb}
    if not is_local:
        limits["knowledge.node_cache_gb"] = settings.knowledge.node_cache_gb
    name = min(limits, key=limits.__getitem__)
    if total <= limits[name] * 1e9:
        return None
    return f"its answers would take {total / 1e9:.3g} GB, above {name} = {limits[name]:g}"


def estimated_bill(
    settings: StudySettings, needs: frozenset[Need], *, num_classes: int, num_scenes: int, num_unlabelled: int = 0
) -> Bill:
    """Times untrained networks on noise, on this machine's CPU, and multiplies. Takes some seconds.

    An upper bound: no trial is stopped early. Evaluation and decoding are left out of all numbers.
    """
    placement = place("off", use_gpu=False)
    teacher = _teacher_seconds(settings, needs, num_classes, placement)
    student = _student_seconds(settings, num_classes, placement)
    size = settings.training.batch_size
    share = settings.scenes.unlabelled_share
    labelled = size - (unlabelled_in_batch(size, share) if num_unlabelled else 0)
    steps = settings.search.num_trials * settings.training.epochs * (num_scenes // labelled) * size
    views = settings.scenes.views if isinstance(settings.scenes.views, int) else 0  # fresh views are not stored
    return Bill(teacher * (num_scenes + num_unlabelled) * views, student * steps, teacher * steps)


def _teacher_seconds(settings: StudySettings, needs: frozenset[Need], num_classes: int, placement: Placement) -> float:
    """Seconds per view, answers included."""
    options = settings.teacher.options.model_dump()
    network = placement.network(build_network(settings.teacher.network, num_classes, **options)).eval()

    def step(images: Tensor, labels: Tensor) -> None:
        with torch.inference_mode():
            teacher_answers(needs, network(normalise(placement.images(images))), labels, num_classes)

    return _seconds_per_view(step, settings, num_classes)


def _student_seconds(settings: StudySettings, num_classes: int, placement: Placement) -> float:
    """Seconds per view, forward and backward pass."""
    network = placement.network(build_network(settings.student.network, num_classes, **settings.student.options()))

    def step(images: Tensor, labels: Tensor) -> None:
        output = network(normalise(placement.images(images)))
        nn.functional.cross_entropy(output.logits, labels.long()).backward()  # type: ignore[no-untyped-call]

    return _seconds_per_view(step, settings, num_classes)


def _seconds_per_view(step: Callable[[Tensor, Tensor], None], settings: StudySettings, num_classes: int) -> float:
    """Timed in batches of two, and again in the training's own batches unless those are slow: small networks take less
    time per view in larger batches."""

    def seconds(size: int) -> float:
        batch = functools.partial(step, *_noise(settings, size, num_classes))
        return quickest(batch, torch.device("cpu"), budget=TIMED_SECONDS, max_runs=MAX_PASSES) / size

    small = seconds(2)
    size = settings.training.batch_size
    return small if small * size > TIMED_SECONDS / 2 else seconds(size)


def _noise(settings: StudySettings, size: int, num_classes: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (size, settings.scenes.height, settings.scenes.width)
    images = torch.randint(256, (shape[0], 3, *shape[1:]), generator=generator, dtype=torch.uint8)
    return images, torch.randint(num_classes, shape, generator=generator, dtype=torch.uint8)
