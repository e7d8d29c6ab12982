"""Attention maps: IntRA-KD's L_a (Hou et al. 2020)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from intra_search.config.settings import DistillSettings
from intra_search.distill.attention import attention_map, attention_sum
from intra_search.distill.needs import MapNeed, answer_of
from intra_search.distill.term import Term, TermContext, TermResult
from intra_search.networks.output import NetworkOutput


class AttentionTerm(Term):
    """Sum over layer pairs of `attention_loss`; the common size is the teacher's."""

    def __init__(self, settings: DistillSettings, context: TermContext) -> None:
        super().__init__(settings, context)
        self._check_layers()

    @classmethod
    def needs_of(cls, settings: DistillSettings) -> tuple[MapNeed, ...]:
        return tuple(MapNeed(teacher_layer) for _, teacher_layer in settings.layers)

    def forward(self, student: NetworkOutput, answers: Mapping[str, Tensor], labels: Tensor) -> TermResult:
        sums = []
        for student_layer, teacher_layer in self.settings.layers:
            teacher_map = answer_of(answers, MapNeed(teacher_layer).key)
            size = (teacher_map.shape[1], teacher_map.shape[2])
            student_map = attention_map(student.features[student_layer], size)
            sums.append(attention_sum(student_map, teacher_map))
        sums_P = torch.stack(sums)
        return TermResult(sums_P, torch.full_like(sums_P, len(labels)).detach())
