"""CIRKD: cross-image relations (Yang et al. 2022), the mini-batch pixel-to-pixel part."""

# B images, C channels, N = grid * grid cells per image

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from intra_search.config.distill import DistillSettings
from intra_search.distill.needs import Need, feature_of
from intra_search.distill.term import RelationTerm
from intra_search.distill.unit import full_precision, unit
from intra_search.networks.output import NetworkOutput


def grid_embeddings(features: Tensor, grid: int) -> Tensor:
    """Features averaged to grid x grid cells, each of length 1: (B, C, h, w) to (B, N, C)."""
    pooled_BCN = nn.functional.adaptive_avg_pool2d(full_precision(features), grid).flatten(2)
    return unit(pooled_BCN, dim=1).transpose(1, 2)


def relation_gap(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL(teacher || student) of the softmax of each cell's similarities to the cells of an image: (B, N, C) to (B,).

    Entry i is the mean over the cells of image i and over all images j. Gradient flows to images i and j.
    """
    student_rows = _log_similarities(student, temperature)
    teacher_rows = _log_similarities(teacher.detach(), temperature)
    return (teacher_rows.exp() * (teacher_rows - student_rows)).sum(dim=3).mean(dim=(1, 2))


def _log_similarities(embeddings_BNC: Tensor, temperature: float) -> Tensor:
    """(B, B, N, N): for images i and j, the log-softmax over the cells of j of the similarities to each cell of i."""
    with torch.autocast(embeddings_BNC.device.type, enabled=False):
        similarity = torch.einsum("inc,jmc->ijnm", embeddings_BNC, embeddings_BNC)
    return (similarity / temperature).log_softmax(dim=3)


@dataclass(frozen=True)
class GridNeed(Need):
    """`grid_embeddings` of a feature: (B, N, C). Similarities cannot be stored: they depend on the batch."""

    layer: str
    grid: int

    @property
    def key(self) -> str:
        return f"grid/{self.layer}/{self.grid}"

    def answer(
        self, alike: Sequence[Need], teacher: NetworkOutput, labels: Tensor, num_classes: int
    ) -> dict[str, Tensor]:
        return {self.key: grid_embeddings(feature_of(teacher, self.layer), self.grid)}


class CIRKDTerm(RelationTerm):
    """Sum over layer pairs of `relation_gap`, mean over images."""

    @classmethod
    def need(cls, settings: DistillSettings, layer: str) -> GridNeed:
        return GridNeed(layer, settings.cirkd.grid)

    def embedding(self, features: Tensor) -> Tensor:
        return grid_embeddings(features, self.settings.cirkd.grid)

    def gap(self, student: Tensor, teacher: Tensor) -> Tensor:
        return relation_gap(student, teacher, self.settings.cirkd.temperature)
