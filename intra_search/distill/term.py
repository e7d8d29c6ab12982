"""What a term is: one loss that compares student and teacher on the same view."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from intra_search.config.distill import DistillSettings
from intra_search.distill.needs import Need, answer_of, check_layer
from intra_search.distill.workers import ALONE, Workers, gathered, own_share
from intra_search.errors import SettingError
from intra_search.networks.output import NetworkOutput


class TermContext(NamedTuple):
    """What a term must know about the two networks."""

    num_classes: int
    student_channels: Mapping[str, int]
    """`feature_channels` of the student."""
    teacher_channels: Mapping[str, int]
    """`feature_channels` of the teacher."""
    student: str = "student"
    """What errors call the student."""
    teacher: str = "teacher"
    """What errors call the teacher."""


class TermResult(NamedTuple):
    """Sums and counts of the averages that a term adds up: its value is the sum of `sums / counts`.

    Both are (P,), one entry per average (for terms on features: per layer pair). Sums and counts are added over workers
    first and divided then. `sums` is attached to the student. Where the count is 0, the sum is 0.
    """

    sums: Tensor
    counts: Tensor


class Term(nn.Module, ABC):
    """One loss. Its parameters are trained with the student (adapters). Subclasses are listed in `TERMS`."""

    anchor: str = "logits"
    """The student feature nearest to the output that the term reads: `balance` compares gradients there."""

    def __init__(self, settings: DistillSettings, context: TermContext) -> None:
        super().__init__()
        self.settings = settings
        self.context = context

    @classmethod
    @abstractmethod
    def needs_of(cls, settings: DistillSettings) -> tuple[Need, ...]:
        """What the term asks of the teacher with these settings."""

    @abstractmethod
    def forward(self, student: NetworkOutput, answers: Mapping[str, Tensor], labels: Tensor) -> TermResult:
        """Compares the student with the teacher's answers on one batch; labels (B, H, W), 255 = ignored."""

    def _checked_pairs(self) -> tuple[tuple[str, str, float], ...]:
        """`distill.layers` with weights above 0. Raises `SettingError` for an unknown feature, or if there are none."""
        pairs = self.settings.weighted_layers
        for student_layer, teacher_layer, _ in pairs:
            check_layer(self.context.student, student_layer, self.context.student_channels)
            check_layer(self.context.teacher, teacher_layer, self.context.teacher_channels)
        if not pairs:
            rule = "must hold a pair of weight above 0 for the terms on features"
            raise SettingError("distill.layers", rule, "none", "add a pair, or give those terms weight 0")
        return pairs

    def _check_two_pairs(self) -> None:
        """Raises `SettingError` unless `distill.layers` has two pairs with a weight above 0."""
        found = len(self.settings.weighted_layers)
        if found < 2:
            rule = "must hold two pairs of weight above 0 for a term on neighbouring layers"
            raise SettingError("distill.layers", rule, found, "add a pair, from shallow to deep")

    def _deepest(self, layers: tuple[str, ...]) -> str:
        order = list(self.context.student_channels)
        return max(layers, key=order.index)


class LayerTerm(Term):
    """A term on the layer pairs of `distill.layers`."""

    def __init__(self, settings: DistillSettings, context: TermContext) -> None:
        super().__init__(settings, context)
        self.pairs = self._checked_pairs()
        self.anchor = self._deepest(tuple(student_layer for student_layer, _, _ in self.pairs))


class ConsecutiveLayersTerm(LayerTerm):
    """A term on two consecutive layer pairs of `distill.layers` at a time."""

    def __init__(self, settings: DistillSettings, context: TermContext) -> None:
        super().__init__(settings, context)
        self._check_two_pairs()


class RelatedBatch(NamedTuple):
    """Embeddings of one layer pair, for the images of all workers."""

    student: Tensor
    """(B of all workers, ...): gradient flows to this worker's own images only."""
    teacher: Tensor
    own: slice
    """This worker's images."""
    weight: float
    """Weight of the layer pair."""

    def averaged(self, gap_B: Tensor, factor: float = 1.0) -> TermResult:
        """Mean over the images of all workers of `gap_B`, times `factor` and the pair's weight."""
        count = gap_B.new_full((1,), self.own.stop - self.own.start).detach()
        return TermResult(factor * self.weight * own_share(gap_B, self.own).reshape(1), count)


class RelationTerm(LayerTerm):
    """A term that compares the images of the global batch with each other."""

    def forward(self, student: NetworkOutput, answers: Mapping[str, Tensor], labels: Tensor) -> TermResult:
        return self.related(student, answers, ALONE)

    def related(self, student: NetworkOutput, answers: Mapping[str, Tensor], workers: Workers) -> TermResult:
        """Like `forward`, but compares the images of all workers."""
        batches = []
        for student_layer, teacher_layer, weight in self.pairs:
            own_B = self.embedding(student.features[student_layer])
            teacher_B = answer_of(answers, self.need(self.settings, teacher_layer).key).to(own_B.dtype)
            everyone = gathered(own_B, workers)
            batches.append(RelatedBatch(everyone.values, gathered(teacher_B, workers).values, everyone.own, weight))
        return joined(self.compared(batches))

    def compared(self, batches: Sequence[RelatedBatch]) -> list[TermResult]:
        """The averages of the term, from the embeddings of every layer pair."""
        return [batch.averaged(self.gap(batch.student, batch.teacher)) for batch in batches]

    @classmethod
    def needs_of(cls, settings: DistillSettings) -> tuple[Need, ...]:
        return tuple(cls.need(settings, teacher_layer) for _, teacher_layer, _ in settings.weighted_layers)

    @classmethod
    @abstractmethod
    def need(cls, settings: DistillSettings, layer: str) -> Need:
        """The teacher's embedding of one layer."""

    @abstractmethod
    def embedding(self, features: Tensor) -> Tensor:
        """The embedding of each image, which is compared with those of others: (B, C, h, w) to (B, ...)."""

    @abstractmethod
    def gap(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(B,): the gap between student and teacher at each image, from the embeddings of all images."""


def per_image(values_B: Tensor, weight: float = 1.0) -> TermResult:
    """Mean over images, as one sum and one count."""
    count = values_B.new_full((1,), len(values_B)).detach()
    return TermResult(weight * values_B.sum().reshape(1), count)


def joined(results: list[TermResult]) -> TermResult:
    """The averages of several results in one."""
    return TermResult(torch.cat([result.sums for result in results]), torch.cat([result.counts for result in results]))
