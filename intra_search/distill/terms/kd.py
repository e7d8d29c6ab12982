"""KD: class probabilities per pixel (Hinton et al. 2015)."""

# B images, K classes, H W height and width of the logits

from collections.abc import Mapping

import torch
from torch import Tensor

from intra_search.config.distill import DistillSettings
from intra_search.distill.needs import LogitsNeed, answer_of, pooled_logits
from intra_search.distill.term import Term, TermResult, per_image
from intra_search.networks.output import NetworkOutput


def kd_gap(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(z_T / T) || softmax(z_S / T)) over classes, mean over pixels: (B, K, H, W) to (B,).

    All pixels count, also ignored ones, as in the released implementations: the teacher answers there, too.
    """
    student = (student_logits / temperature).log_softmax(dim=1)
    teacher = (teacher_logits.detach() / temperature).log_softmax(dim=1)
    divergence_BHW = (teacher.exp() * (teacher - student)).sum(dim=1)
    return temperature**2 * divergence_BHW.mean(dim=(1, 2))


class KDTerm(Term):
    """`kd_gap`, mean over images."""

    @classmethod
    def needs_of(cls, settings: DistillSettings) -> tuple[LogitsNeed, ...]:
        return (LogitsNeed(settings.kd.stride),)

    def forward(self, student: NetworkOutput, answers: Mapping[str, Tensor], labels: Tensor) -> TermResult:
        options = self.settings.kd
        teacher = answer_of(answers, LogitsNeed(options.stride).key)
        with torch.autocast(labels.device.type, enabled=False):
            return per_image(kd_gap(pooled_logits(student.logits, options.stride), teacher, options.temperature))
