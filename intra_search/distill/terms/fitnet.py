"""FitNet: hints (Romero et al. 2015)."""

from collections.abc import Mapping

from torch import Tensor

from intra_search.config.distill import DistillSettings
from intra_search.distill.adapter import pair_adapters
from intra_search.distill.needs import FeatureNeed, answer_of
from intra_search.distill.term import LayerTerm, TermContext, TermResult, joined, per_image
from intra_search.networks.output import NetworkOutput


def hint_gap(adapted: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared gap over channels and positions: (B, C, h, w) to (B,)."""
    return (adapted - teacher.detach()).square().mean(dim=(1, 2, 3))


class FitNetTerm(LayerTerm):
    """Sum over layer pairs of `hint_gap` after a 1x1 adapter, mean over images."""

    def __init__(self, settings: DistillSettings, context: TermContext) -> None:
        super().__init__(settings, context)
        self.adapters = pair_adapters(self.pairs, context)

    @classmethod
    def needs_of(cls, settings: DistillSettings) -> tuple[FeatureNeed, ...]:
        return tuple(FeatureNeed(teacher_layer) for _, teacher_layer, _ in settings.weighted_layers)

    def forward(self, student: NetworkOutput, answers: Mapping[str, Tensor], labels: Tensor) -> TermResult:
        results = []
        for adapter, (student_layer, teacher_layer, weight) in zip(self.adapters, self.pairs, strict=True):
            teacher = answer_of(answers, FeatureNeed(teacher_layer).key)
            adapted = adapter(student.features[student_layer], teacher.shape[2:])
            results.append(per_image(hint_gap(adapted, teacher), weight))
        return joined(results)
