"""AT: attention transfer (Zagoruyko & Komodakis 2017)."""

from collections.abc import Mapping

from torch import Tensor

from intra_search.config.distill import DistillSettings
from intra_search.distill.attention import transfer_map
from intra_search.distill.needs import MapNeed, answer_of
from intra_search.distill.term import LayerTerm, TermResult, joined, per_image
from intra_search.networks.output import NetworkOutput


def at_gap(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    """Mean squared gap of two L2-normalised maps over positions: (B, h, w) to (B,)."""
    return (student_map - teacher_map.detach()).square().mean(dim=(1, 2))


class ATTerm(LayerTerm):
    """Sum over layer pairs of `at_gap`, mean over images. The student's map is resized to the teacher's."""

    @classmethod
    def needs_of(cls, settings: DistillSettings) -> tuple[MapNeed, ...]:
        return tuple(MapNeed(teacher_layer, "l2") for _, teacher_layer, _ in settings.weighted_layers)

    def forward(self, student: NetworkOutput, answers: Mapping[str, Tensor], labels: Tensor) -> TermResult:
        results = []
        for student_layer, teacher_layer, weight in self.pairs:
            teacher_map = answer_of(answers, MapNeed(teacher_layer, "l2").key)
            student_map = transfer_map(student.features[student_layer], (teacher_map.shape[1], teacher_map.shape[2]))
            results.append(per_image(at_gap(student_map, teacher_map), weight))
        return joined(results)
