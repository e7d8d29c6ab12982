"""Inter-region affinity of moments: IntRA-KD's L_m (Hou et al. 2020)."""

# B images, R orders, K classes

from collections.abc import Mapping

import torch
from torch import Tensor

from intra_search.config.distill import DistillSettings
from intra_search.distill.affinity import affinity_graph, affinity_sum, centred_moments
from intra_search.distill.moments import enough_cells, region_cells, region_moments
from intra_search.distill.needs import GraphNeed, RegionForm, answer_of
from intra_search.distill.term import LayerTerm, TermResult, joined
from intra_search.networks.output import NetworkOutput


class AffinityTerm(LayerTerm):
    """Sum over layer pairs of `affinity_loss`, weighted as the settings say. A region counts for an order if it has
    `least_cells` in the student's and the teacher's map, or always if `absent` says so."""

    @classmethod
    def needs_of(cls, settings: DistillSettings) -> tuple[GraphNeed, ...]:
        return tuple(need for _, layer, _ in settings.weighted_layers for need in _needs(settings, layer))

    def forward(self, student: NetworkOutput, answers: Mapping[str, Tensor], labels: Tensor) -> TermResult:
        options = self.settings.affinity
        masks_of_size: dict[tuple[int, int], Tensor] = {}
        results = []
        for student_layer, teacher_layer, weight in self.pairs:
            features = student.features[student_layer]
            size = (features.shape[2], features.shape[3])
            if size not in masks_of_size:
                masks_of_size[size] = _regions(self.settings).masks(labels, self.context.num_classes, size)
            masks = masks_of_size[size]
            needs = _needs(self.settings, teacher_layer)
            moments_BRKC = region_moments(features, masks, options.orders, variant=options.variant)
            cells_BK = region_cells(masks)
            if options.centred:
                moments_BRKC = centred_moments(moments_BRKC, cells_BK, options.orders)
            graph_BRKK = affinity_graph(moments_BRKC)
            teacher_BRKK = torch.stack([answer_of(answers, need.key) for need in needs], dim=1).to(graph_BRKK.dtype)
            smaller_BK = torch.minimum(cells_BK, answer_of(answers, needs[0].cells_key))
            present_BRK = self._counted(enough_cells(smaller_BK, options.orders, options.least_cells))
            sizes_BK = cells_BK if options.pairs == "size" else None
            total, count = affinity_sum(
                graph_BRKK, teacher_BRKK, present_BRK, order_weights=options.order_weights, sizes=sizes_BK
            )
            results.append(TermResult(weight * total.reshape(1), count.reshape(1)))
        return joined(results)

    def _counted(self, present_BRK: Tensor) -> Tensor:
        if self.settings.affinity.absent == "excluded":
            return present_BRK
        counted_BRK = torch.ones_like(present_BRK)
        if not self.settings.affinity.background:
            counted_BRK[:, :, 0] = False  # class 0 has no region, so it is not an absent one
        return counted_BRK


def _regions(settings: DistillSettings) -> RegionForm:
    options = settings.affinity
    return RegionForm(options.kernel_size, options.masks == "soft", options.background, options.resize)


def _needs(settings: DistillSettings, teacher_layer: str) -> tuple[GraphNeed, ...]:
    options = settings.affinity
    return tuple(
        GraphNeed(teacher_layer, order, _regions(settings), options.variant, options.centred)
        for order in options.orders
    )
