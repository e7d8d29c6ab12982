"""IRG: instance relations (Liu et al. 2019), as the baseline of Hou et al. 2020. Unverified.

Only its loss on distance maps is known from code (`PUBLISHED_WEIGHTS`). Hou et al. compare three consecutive frames;
here the images of a batch are compared. How they compute the transformation between layers is not known.
"""

# B images, C channels

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from intra_search.config.distill import DistillSettings
from intra_search.distill.needs import Need, feature_of
from intra_search.distill.term import RelatedBatch, RelationTerm, TermContext, TermResult
from intra_search.distill.unit import full_precision
from intra_search.networks.output import NetworkOutput


def pooled_features(features: Tensor) -> Tensor:
    """Mean over positions: (B, C, h, w) to (B, C)."""
    return full_precision(features).mean(dim=(2, 3))


def distance_matrix(vectors: Tensor) -> Tensor:
    """Squared distances between the images of a batch, divided by their mean: (B, C) to (B, B).

    Divided, because student and teacher differ in scale and channels. All 0 for one image, or if all are equal.
    """
    # Divided by the largest entry first, so that squares of small features do not underflow.
    scale = vectors.detach().abs().amax()
    vectors = vectors / scale.masked_fill(scale == 0, 1)
    gap_BB = (vectors.unsqueeze(0) - vectors.unsqueeze(1)).square().sum(dim=2)
    mean = gap_BB.mean()
    return gap_BB / mean.masked_fill(mean == 0, 1)


@dataclass(frozen=True)
class PooledNeed(Need):
    """`pooled_features`: (B, C)."""

    layer: str

    @property
    def key(self) -> str:
        return f"pooled/{self.layer}"

    def answer(
        self, alike: Sequence[Need], teacher: NetworkOutput, labels: Tensor, num_classes: int
    ) -> dict[str, Tensor]:
        return {self.key: pooled_features(feature_of(teacher, self.layer))}


class IRGTerm(RelationTerm):
    """Mean squared gap of distance matrices D, summed over layer pairs (the edges of the paper's graph), plus
    `transformation_weight` times that of D' - D, summed over consecutive layer pairs (its edge transformation: how
    distances change from one layer to the next; unverified).

    The loss on the graph's vertices (features) is that of FitNet, and their transformation needs equal channels in all
    layers, so neither is here.
    """

    def __init__(self, settings: DistillSettings, context: TermContext) -> None:
        super().__init__(settings, context)
        if settings.irg.transformation_weight > 0:
            self._check_two_pairs()

    @classmethod
    def need(cls, settings: DistillSettings, layer: str) -> PooledNeed:
        return PooledNeed(layer)

    def embedding(self, features: Tensor) -> Tensor:
        return pooled_features(features)

    def gap(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (distance_matrix(student) - distance_matrix(teacher)).square().mean(dim=1)

    def compared(self, batches: Sequence[RelatedBatch]) -> list[TermResult]:
        results = super().compared(batches)
        factor = self.settings.irg.transformation_weight
        if factor > 0:
            for shallow, deep in pairwise(batches):
                student_BB = distance_matrix(deep.student) - distance_matrix(shallow.student)
                teacher_BB = distance_matrix(deep.teacher) - distance_matrix(shallow.teacher)
                results.append(deep.averaged((student_BB - teacher_BB).square().mean(dim=1), factor))
        return results
