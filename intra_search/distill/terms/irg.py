"""IRG: instance relations (Liu et al. 2019). Unverified: the paper relates frames of a video, here a batch."""

# B images, C channels

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from intra_search.config.settings import DistillSettings
from intra_search.distill.needs import Need, answer_of, feature_of
from intra_search.distill.term import LayerTerm, TermResult, joined, per_image
from intra_search.distill.unit import full_precision
from intra_search.networks.output import NetworkOutput


def pooled_features(features: Tensor) -> Tensor:
    """Mean over positions: (B, C, h, w) to (B, C)."""
    return full_precision(features).mean(dim=(2, 3))


def distance_matrix(vectors: Tensor) -> Tensor:
    """Squared distances between the images of a batch, divided by their mean: (B, C) to (B, B).

    Divided, because student and teacher differ in scale and channels; all 0 for one image or equal ones.
    """
    # Relative to the largest entry first, so that squares of small features do not underflow.
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


class IRGTerm(LayerTerm):
    """Mean squared gap of distance matrices, summed over layer pairs. Relates the images of one worker only.

    Of the paper's graph only the relations between instances are here: its vertices (features) are FitNet's, and its
    transformations between layers need equal channels.
    """

    adds_over_workers = False

    @classmethod
    def needs_of(cls, settings: DistillSettings) -> tuple[PooledNeed, ...]:
        return tuple(PooledNeed(teacher_layer) for _, teacher_layer, _ in settings.weighted_layers)

    def forward(self, student: NetworkOutput, answers: Mapping[str, Tensor], labels: Tensor) -> TermResult:
        results = []
        for student_layer, teacher_layer, weight in self.pairs:
            teacher_BB = distance_matrix(answer_of(answers, PooledNeed(teacher_layer).key))
            student_BB = distance_matrix(pooled_features(student.features[student_layer]))
            results.append(per_image((student_BB - teacher_BB).square().mean(dim=1), weight))
        return joined(results)
