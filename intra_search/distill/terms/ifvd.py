"""IFVD: intra-class feature variation (Wang et al. 2020)."""

# B images, K classes, C channels, h w feature height and width

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from intra_search.config.distill import DistillSettings
from intra_search.distill.attention import resized
from intra_search.distill.needs import HALF_OF_UNIT, Need, StoredForm, answer_of, feature_of
from intra_search.distill.regions import region_masks
from intra_search.distill.term import LayerTerm, TermResult, joined
from intra_search.distill.unit import full_precision, unit
from intra_search.networks.output import NetworkOutput


def class_masks(labels: Tensor, num_classes: int, size: tuple[int, int]) -> Tensor:
    """(B, K, h, w): the class at the centre of each cell, one-hot; all 0 where it is ignored."""
    return region_masks(labels, num_classes, 1, size, resize="nearest")


def coherence_map(features: Tensor, masks: Tensor) -> Tensor:
    """Cosine of each cell with the mean feature of its own class in its image: (B, h, w); 0 on ignored cells."""
    features = full_precision(features)
    masks_BKN, x_BCN = masks.to(features.dtype).flatten(2), features.flatten(2)
    with torch.autocast(features.device.type, enabled=False):
        # The sum in place of the mean: the cosine depends on the direction alone.
        sums_BKC = torch.bmm(masks_BKN, x_BCN.transpose(1, 2))
        own_BCN = torch.bmm(unit(sums_BKC, dim=2).transpose(1, 2), masks_BKN)
    return (unit(x_BCN, dim=1) * own_BCN).sum(dim=1).view(features.shape[0], *features.shape[2:])


def coherence_gap(student_map: Tensor, teacher_map: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared gap over the valid cells of each image, as (sum over images, number of images with such cells)."""
    gap_B = torch.where(valid, (student_map - teacher_map.detach()).square(), 0).sum(dim=(1, 2))
    cells_B = valid.sum(dim=(1, 2))
    return (gap_B / cells_B.clamp_min(1)).sum(), (cells_B > 0).sum()


@dataclass(frozen=True)
class CoherenceNeed(Need):
    """`coherence_map` of a feature: (B, h, w)."""

    layer: str

    @property
    def key(self) -> str:
        return f"coherence/{self.layer}"

    @property
    def stored_form(self) -> StoredForm:
        return HALF_OF_UNIT

    def answer(
        self, alike: Sequence[Need], teacher: NetworkOutput, labels: Tensor, num_classes: int
    ) -> dict[str, Tensor]:
        features = feature_of(teacher, self.layer)
        masks = class_masks(labels, num_classes, (features.shape[2], features.shape[3]))
        return {self.key: coherence_map(features, masks)}


class IFVDTerm(LayerTerm):
    """Sum over layer pairs of `coherence_gap`, after resizing the student's feature to the teacher's.

    The released code also averages over ignored cells, where both maps are always equal; here they do not count.
    """

    @classmethod
    def needs_of(cls, settings: DistillSettings) -> tuple[CoherenceNeed, ...]:
        return tuple(CoherenceNeed(teacher_layer) for _, teacher_layer, _ in settings.weighted_layers)

    def forward(self, student: NetworkOutput, answers: Mapping[str, Tensor], labels: Tensor) -> TermResult:
        results = []
        for student_layer, teacher_layer, weight in self.pairs:
            teacher_map = answer_of(answers, CoherenceNeed(teacher_layer).key)
            size = (teacher_map.shape[1], teacher_map.shape[2])
            masks = class_masks(labels, self.context.num_classes, size)
            student_map = coherence_map(resized(full_precision(student.features[student_layer]), size), masks)
            total, count = coherence_gap(student_map, teacher_map, masks.any(dim=1))
            results.append(TermResult(weight * total.reshape(1), count.reshape(1)))
        return joined(results)
