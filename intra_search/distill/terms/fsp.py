"""FSP: flow of solution procedure (Yim et al. 2017), PS-N in Hou et al. 2020. Unverified: they give no details."""

# B images, C and D channels of two neighbouring layers, N cells

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from intra_search.config.distill import DistillSettings
from intra_search.distill.adapter import pair_adapters
from intra_search.distill.attention import resized
from intra_search.distill.needs import Need, answer_of, feature_of
from intra_search.distill.term import ConsecutiveLayersTerm, TermContext, TermResult, joined, per_image
from intra_search.networks.output import NetworkOutput


def flow_matrix(shallow: Tensor, deep: Tensor) -> Tensor:
    """Mean over cells of F_l F_m^T, after resizing the shallow map to the deep one's size: (B, C, D)."""
    shallow = resized(shallow, (deep.shape[2], deep.shape[3]))
    with torch.autocast(deep.device.type, enabled=False):
        return torch.bmm(shallow.flatten(2), deep.flatten(2).transpose(1, 2)) / deep.flatten(2).shape[2]


@dataclass(frozen=True)
class FlowNeed(Need):
    """`flow_matrix` of two neighbouring layers: (B, C, D). Large: 512 x 2048 for a ResNet-101's block3 and block5."""

    layer: str
    next_layer: str

    @property
    def key(self) -> str:
        return f"flow/{self.layer}/{self.next_layer}"

    def answer(
        self, alike: Sequence[Need], teacher: NetworkOutput, labels: Tensor, num_classes: int
    ) -> dict[str, Tensor]:
        return {self.key: flow_matrix(feature_of(teacher, self.layer), feature_of(teacher, self.next_layer))}


class FSPTerm(ConsecutiveLayersTerm):
    """Sum over consecutive layer pairs of the mean squared gap of flow matrices; 1x1 adapters make channels equal."""

    def __init__(self, settings: DistillSettings, context: TermContext) -> None:
        super().__init__(settings, context)
        self.adapters = pair_adapters(self.pairs, context)

    @classmethod
    def needs_of(cls, settings: DistillSettings) -> tuple[FlowNeed, ...]:
        layers = [teacher_layer for _, teacher_layer, _ in settings.weighted_layers]
        return tuple(FlowNeed(*neighbours) for neighbours in pairwise(layers))

    def forward(self, student: NetworkOutput, answers: Mapping[str, Tensor], labels: Tensor) -> TermResult:
        adapted = [
            adapter(student.features[student_layer], None)
            for adapter, (student_layer, _, _) in zip(self.adapters, self.pairs, strict=True)
        ]
        results = []
        for index, need in enumerate(self.needs_of(self.settings)):
            flow = flow_matrix(adapted[index], adapted[index + 1])
            gap = (flow - answer_of(answers, need.key)).square().mean(dim=(1, 2))
            results.append(per_image(gap, self.pairs[index + 1][2]))
        return joined(results)
