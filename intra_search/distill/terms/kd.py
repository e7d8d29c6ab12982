"""KD: class probabilities per pixel (Hinton et al. 2015)."""

# B images, K classes, H W height and width of the logits

from collections.abc import Mapping

import torch
from torch import Tensor

from intra_search.config.distill import DistillSettings
from intra_search.distill.needs import LogitsNeed, answer_of, pooled_logits
from intra_search.distill.term import Term, TermResult, per_image
from intra_search.distill.unit import standardised
from intra_search.networks.output import NetworkOutput


def kd_gap(student_logits: Tensor, teacher_logits: Tensor, temperature: float, *, balanced: bool = False) -> Tensor:
    """T^2 KL(softmax(z_T / T) || softmax(z_S / T)) over classes, mean over pixels: (B, K, H, W) to (B,).

    All pixels count, also ignored ones, as in the released implementations: the teacher answers there, too. `balanced`:
    the mean of two means, over the pixels where the teacher's largest logit is class 0's (background) and over the
    others; where an image has one kind only, that kind's mean.
    """
    student = (student_logits / temperature).log_softmax(dim=1)
    teacher = (teacher_logits.detach() / temperature).log_softmax(dim=1)
    divergence_BHW = (teacher.exp() * (teacher - student)).sum(dim=1)
    if not balanced:
        return temperature**2 * divergence_BHW.mean(dim=(1, 2))
    background_BHW = (teacher.argmax(dim=1) == 0).to(divergence_BHW.dtype)
    kinds_2BHW = torch.stack([background_BHW, 1 - background_BHW])
    pixels_2B = kinds_2BHW.sum(dim=(2, 3))
    means_2B = (kinds_2BHW * divergence_BHW).sum(dim=(2, 3)) / pixels_2B.clamp_min(1)
    return temperature**2 * means_2B.sum(dim=0) / (pixels_2B > 0).sum(dim=0)


def standardised_logits(logits: Tensor) -> Tensor:
    """Logits of each pixel less their mean over classes, divided by their standard deviation: (B, K, H, W).

    Logit standardisation (Sun et al. 2024): the student need not reach the teacher's range. Equal logits become 0."""
    return standardised(logits, dim=1)


class KDTerm(Term):
    """`kd_gap`, mean over images."""

    @classmethod
    def needs_of(cls, settings: DistillSettings) -> tuple[LogitsNeed, ...]:
        return (LogitsNeed(settings.kd.stride),)

    def forward(self, student: NetworkOutput, answers: Mapping[str, Tensor], labels: Tensor) -> TermResult:
        options = self.settings.kd
        teacher = answer_of(answers, LogitsNeed(options.stride).key)
        own = pooled_logits(student.logits, options.stride)
        if options.standardise:
            own, teacher = standardised_logits(own), standardised_logits(teacher)
        with torch.autocast(labels.device.type, enabled=False):
            return per_image(kd_gap(own, teacher, options.temperature, balanced=options.pixels == "balanced"))
