"""SKD: structured knowledge distillation (Liu et al. 2019), pixel-wise and pair-wise, without the adversarial part."""

# B images, K classes, C channels, H W height and width of the logits, P nodes of the pooled map

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from intra_search.config.distill import DistillSettings
from intra_search.distill.needs import LogitsNeed, Need, answer_of, feature_of, pooled_logits
from intra_search.distill.term import Term, TermContext, TermResult, joined, per_image
from intra_search.distill.unit import full_precision, unit
from intra_search.networks.output import NetworkOutput


def pixel_gap(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of the teacher's probabilities, mean over pixels: (B, K, H, W) to (B,).

    Differs from `kd_gap` by the teacher's entropy, so it is not 0 for equal logits, and lacks the factor T^2.
    """
    student = (student_logits / temperature).log_softmax(dim=1)
    teacher = (teacher_logits.detach() / temperature).softmax(dim=1)
    return -(teacher * student).sum(dim=1).mean(dim=(1, 2))


def node_similarity(features: Tensor, nodes: int) -> Tensor:
    """Cosines between the cells of a map that is max-pooled to nodes x nodes: (B, C, h, w) to (B, P, P)."""
    pooled_BCP = nn.functional.adaptive_max_pool2d(full_precision(features), nodes).flatten(2)
    unit_BCP = unit(pooled_BCP, dim=1)
    with torch.autocast(features.device.type, enabled=False):
        return unit_BCP.transpose(1, 2) @ unit_BCP


def pair_gap(student_similarity: Tensor, teacher_similarity: Tensor) -> Tensor:
    """Mean squared gap of similarities over pairs of nodes: (B, P, P) to (B,)."""
    return (student_similarity - teacher_similarity.detach()).square().mean(dim=(1, 2))


@dataclass(frozen=True)
class SimilarityNeed(Need):
    """Similarities between pooled cells: (B, P, P)."""

    layer: str
    nodes: int

    @property
    def key(self) -> str:
        return f"similarity/{self.layer}/nodes{self.nodes}"

    def answer(
        self, alike: Sequence[Need], teacher: NetworkOutput, labels: Tensor, num_classes: int
    ) -> dict[str, Tensor]:
        return {self.key: node_similarity(feature_of(teacher, self.layer), self.nodes)}


class SKDTerm(Term):
    """`pixel_weight` times `pixel_gap` plus `pair_weight` times `pair_gap`; a weight of 0 costs nothing."""

    def __init__(self, settings: DistillSettings, context: TermContext) -> None:
        super().__init__(settings, context)
        if settings.skd.pair_weight > 0:
            self.anchor = self._deepest(tuple(student_layer for student_layer, _, _ in self._checked_pairs()))

    @classmethod
    def needs_of(cls, settings: DistillSettings) -> tuple[Need, ...]:
        options = settings.skd
        needs: list[Need] = [LogitsNeed(options.stride)] if options.pixel_weight > 0 else []
        if options.pair_weight > 0:
            needs += [SimilarityNeed(layer, options.nodes) for _, layer, _ in settings.weighted_layers]
        return tuple(needs)

    def forward(self, student: NetworkOutput, answers: Mapping[str, Tensor], labels: Tensor) -> TermResult:
        options = self.settings.skd
        results = []
        if options.pixel_weight > 0:
            logits = pooled_logits(student.logits, options.stride)
            gap = pixel_gap(logits, answer_of(answers, LogitsNeed(options.stride).key), options.temperature)
            results.append(per_image(gap, options.pixel_weight))
        if options.pair_weight > 0:
            for student_layer, teacher_layer, weight in self.settings.weighted_layers:
                teacher = answer_of(answers, SimilarityNeed(teacher_layer, options.nodes).key)
                similarity = node_similarity(student.features[student_layer], options.nodes)
                results.append(per_image(pair_gap(similarity, teacher), weight * options.pair_weight))
        return joined(results)
