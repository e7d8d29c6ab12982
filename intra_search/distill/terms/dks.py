"""DKS: deeply-supervised knowledge synergy (Sun et al. 2019). Unverified: for segmentation only its idea is known."""

# B images, K classes, H W label height and width

from collections.abc import Mapping
from itertools import permutations

import torch
from torch import Tensor, nn

from intra_search.config.distill import DistillSettings
from intra_search.distill.needs import Need, check_layer
from intra_search.distill.term import Term, TermContext, TermResult, joined, per_image
from intra_search.distill.terms.kd import kd_gap
from intra_search.distill.unit import full_precision
from intra_search.networks.output import NetworkOutput
from intra_search.scenes.labels import IGNORED


class DKSTerm(Term):
    """Side classifiers (1x1) on some blocks: each learns from the labels, and all classifiers learn from each other.

    The value is the sum over side classifiers of the mean cross-entropy over valid pixels, plus a mean of `kd_gap` over
    ordered pairs of classifiers (with the network's own): the first learns from the second, which is detached. Logits
    are averaged to the size of the smallest block.
    """

    def __init__(self, settings: DistillSettings, context: TermContext) -> None:
        super().__init__(settings, context)
        blocks = settings.dks.blocks
        for layer in blocks:
            check_layer(context.student, layer, context.student_channels, "distill.dks.blocks")
        self.anchor = self._deepest(blocks)
        self.classifiers = nn.ModuleList(
            nn.Conv2d(context.student_channels[layer], context.num_classes, 1) for layer in blocks
        )

    @classmethod
    def needs_of(cls, settings: DistillSettings) -> tuple[Need, ...]:
        return ()

    def forward(self, student: NetworkOutput, answers: Mapping[str, Tensor], labels: Tensor) -> TermResult:
        with torch.autocast(labels.device.type, enabled=False):
            side = [
                classifier(full_precision(student.features[layer]))
                for classifier, layer in zip(self.classifiers, self.settings.dks.blocks, strict=True)
            ]
            size = min((tuple(logits.shape[2:]) for logits in side), key=lambda shape: shape[0] * shape[1])
            every = [
                nn.functional.adaptive_avg_pool2d(logits, size) for logits in (full_precision(student.logits), *side)
            ]
            pairs = list(permutations(every, 2))
            synergy_B = torch.stack([kd_gap(own, other, 1.0) for own, other in pairs]).mean(dim=0)
            return joined([per_image(synergy_B), *(_supervision(logits, labels) for logits in side)])


def _supervision(logits: Tensor, labels: Tensor) -> TermResult:
    """Cross-entropy at the size of the labels: its sum over valid pixels, and their number."""
    size = (labels.shape[1], labels.shape[2])
    logits = nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
    total = nn.functional.cross_entropy(logits, labels.long(), ignore_index=IGNORED, reduction="sum")
    return TermResult(total.reshape(1), (labels != IGNORED).sum().to(total.dtype).reshape(1))
