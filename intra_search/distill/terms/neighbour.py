"""Attention maps of neighbouring layers as targets, as BiFPN in Hou et al. 2020. Unverified: they give no details."""

from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor

from intra_search.config.distill import DistillSettings
from intra_search.distill.attention import attention_gap, map_of_form
from intra_search.distill.needs import MapNeed, answer_of
from intra_search.distill.term import ConsecutiveLayersTerm, TermResult, joined, per_image
from intra_search.networks.output import NetworkOutput


class NeighbourTerm(ConsecutiveLayersTerm):
    """For consecutive layer pairs (s, t), (s', t'): s learns the attention of t', and s' that of t."""

    @classmethod
    def needs_of(cls, settings: DistillSettings) -> tuple[MapNeed, ...]:
        return tuple(_need(settings, teacher_layer) for _, teacher_layer, _ in settings.weighted_layers)

    def forward(self, student: NetworkOutput, answers: Mapping[str, Tensor], labels: Tensor) -> TermResult:
        results = []
        for shallow, deep in pairwise(self.pairs):
            for (student_layer, _, weight), (_, teacher_layer, _) in ((shallow, deep), (deep, shallow)):
                need = _need(self.settings, teacher_layer)
                teacher_map = answer_of(answers, need.key)
                size = (teacher_map.shape[1], teacher_map.shape[2])
                student_map = map_of_form(student.features[student_layer], need.form, need.temperature, size)
                results.append(per_image(attention_gap(student_map, teacher_map), weight))
        return joined(results)


def _need(settings: DistillSettings, teacher_layer: str) -> MapNeed:
    return MapNeed(teacher_layer, settings.neighbour.map, settings.neighbour.temperature)
