"""Inter-region affinity of moments: IntRA-KD's L_m (Hou et al. 2020)."""

# B images, R orders, K classes

from collections.abc import Mapping

import torch
from torch import Tensor

from intra_search.config.settings import DistillSettings
from intra_search.distill.affinity import affinity_graph, affinity_sum
from intra_search.distill.moments import region_moments, region_presence
from intra_search.distill.needs import GraphNeed, RegionForm, answer_of
from intra_search.distill.regions import region_masks
from intra_search.distill.term import Term, TermContext, TermResult
from intra_search.networks.output import NetworkOutput


class AffinityTerm(Term):
    """Sum over layer pairs of `affinity_loss`. A region counts where student's and teacher's map both have it."""

    def __init__(self, settings: DistillSettings, context: TermContext) -> None:
        super().__init__(settings, context)
        self._check_layers()

    @classmethod
    def needs_of(cls, settings: DistillSettings) -> tuple[GraphNeed, ...]:
        return tuple(need for _, teacher_layer in settings.layers for need in _needs(settings, teacher_layer))

    def forward(self, student: NetworkOutput, answers: Mapping[str, Tensor], labels: Tensor) -> TermResult:
        orders = self.settings.affinity.orders
        masks_of_size: dict[tuple[int, int], Tensor] = {}
        results = []
        for student_layer, teacher_layer in self.settings.layers:
            features = student.features[student_layer]
            size = (features.shape[2], features.shape[3])
            if size not in masks_of_size:
                kernel_size = self.settings.affinity.kernel_size
                masks_of_size[size] = region_masks(labels, self.context.num_classes, kernel_size, size)
            masks = masks_of_size[size]
            needs = _needs(self.settings, teacher_layer)
            graph_BRKK = affinity_graph(region_moments(features, masks, orders))
            teacher_BRKK = torch.stack([answer_of(answers, need.key) for need in needs], dim=1).to(graph_BRKK.dtype)
            teacher_present_BRK = torch.stack([answer_of(answers, need.present_key) for need in needs], dim=1)
            results.append(affinity_sum(graph_BRKK, teacher_BRKK, region_presence(masks, orders) & teacher_present_BRK))
        return TermResult(torch.stack([total for total, _ in results]), torch.stack([count for _, count in results]))


def _needs(settings: DistillSettings, teacher_layer: str) -> tuple[GraphNeed, ...]:
    regions = RegionForm(kernel_size=settings.affinity.kernel_size)
    return tuple(GraphNeed(teacher_layer, order, regions) for order in settings.affinity.orders)
