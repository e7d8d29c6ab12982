"""SAD: self attention distillation (Hou et al. 2019). The teacher is the student's own next block."""

from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor

from intra_search.config.distill import DistillSettings
from intra_search.distill.attention import attention_gap, map_of_form
from intra_search.distill.needs import Need, check_layer
from intra_search.distill.term import Term, TermContext, TermResult, joined, per_image
from intra_search.networks.output import NetworkOutput


class SADTerm(Term):
    """Sum over blocks of `attention_loss` between a block's map and the next block's, detached and resized to it."""

    def __init__(self, settings: DistillSettings, context: TermContext) -> None:
        super().__init__(settings, context)
        for layer in settings.sad.blocks:
            check_layer(context.student, layer, context.student_channels, "distill.sad.blocks")
        self.anchor = self._deepest(settings.sad.blocks[:-1])

    @classmethod
    def needs_of(cls, settings: DistillSettings) -> tuple[Need, ...]:
        return ()

    def forward(self, student: NetworkOutput, answers: Mapping[str, Tensor], labels: Tensor) -> TermResult:
        blocks = [student.features[layer] for layer in self.settings.sad.blocks]
        options = self.settings.sad
        results = []
        for shallow, deep in pairwise(blocks):
            size = (shallow.shape[2], shallow.shape[3])
            target = map_of_form(deep.detach(), options.map, options.temperature, size)
            results.append(per_image(attention_gap(map_of_form(shallow, options.map, options.temperature), target)))
        return joined(results)
