"""DIST: correlation instead of divergence of probabilities (Huang et al. 2022)."""

# B images, K classes, N pixels

from collections.abc import Mapping

from torch import Tensor

from intra_search.config.distill import DistillSettings
from intra_search.distill.needs import LogitsNeed, answer_of, pooled_logits
from intra_search.distill.term import Term, TermResult, per_image
from intra_search.distill.unit import unit
from intra_search.networks.output import NetworkOutput


def correlation(first: Tensor, second: Tensor, dim: int) -> Tensor:
    """Pearson correlation along one dimension; 0 where either is constant."""
    centred = [unit(values - values.mean(dim=dim, keepdim=True), dim=dim) for values in (first, second)]
    return (centred[0] * centred[1]).sum(dim=dim)


def dist_gap(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float, *, inter_weight: float, intra_weight: float
) -> Tensor:
    """T^2 (inter (1 - correlation over classes) + intra (1 - correlation over pixels)): (B, K, H, W) to (B,).

    The released code correlates a class over all pixels of the batch; here it is over the pixels of one image, so that
    the value does not depend on which worker has which images.
    """
    student_BKN = (student_logits.flatten(2) / temperature).softmax(dim=1)
    teacher_BKN = (teacher_logits.detach().flatten(2) / temperature).softmax(dim=1)
    inter_B = 1 - correlation(student_BKN, teacher_BKN, dim=1).mean(dim=1)
    intra_B = 1 - correlation(student_BKN, teacher_BKN, dim=2).mean(dim=1)
    return temperature**2 * (inter_weight * inter_B + intra_weight * intra_B)


class DISTTerm(Term):
    """`dist_gap`, mean over images."""

    @classmethod
    def needs_of(cls, settings: DistillSettings) -> tuple[LogitsNeed, ...]:
        return (LogitsNeed(settings.dist.stride),)

    def forward(self, student: NetworkOutput, answers: Mapping[str, Tensor], labels: Tensor) -> TermResult:
        options = self.settings.dist
        gap = dist_gap(
            pooled_logits(student.logits, options.stride),
            answer_of(answers, LogitsNeed(options.stride).key),
            options.temperature,
            inter_weight=options.inter_weight,
            intra_weight=options.intra_weight,
        )
        return per_image(gap)
