"""Affinity graphs of regions, and the gap between the student's and the teacher's. Hou et al. 2020, section 3.3."""

# B images, R orders, K classes, C channels

from collections.abc import Sequence

import torch
from torch import Tensor

from intra_search.distill.moments import enough_cells
from intra_search.distill.unit import full_precision, less_mean, unit
from intra_search.errors import SettingError


def affinity_graph(moments: Tensor) -> Tensor:
    """Cosine of the moment vectors of every two regions: (B, R, K, C) to (B, R, K, K). A zero vector gives 0.

    Computed in float32 (float64 for float64 moments), also under autocast.
    """
    unit_BRKC = unit(full_precision(moments), dim=-1)
    with torch.autocast(moments.device.type, enabled=False):  # it would multiply in bfloat16
        return unit_BRKC @ unit_BRKC.transpose(-1, -2)


def centred_moments(moments: Tensor, cells: Tensor, orders: Sequence[int]) -> Tensor:
    """Moments (B, R, K, C) less their mean over the regions that the image has; absent regions stay 0.

    Regions of one network look alike, so their cosines lie near 1. Less what they share, they do not. `cells` (B, K)
    says how many cells each region has. Not in the paper.
    """
    present_BRK1 = enough_cells(cells, orders).unsqueeze(-1)
    count_BR11 = present_BRK1.sum(dim=2, keepdim=True).clamp_min(1)
    mean_BR1C = torch.where(present_BRK1, moments, 0).sum(dim=2, keepdim=True) / count_BR11
    return torch.where(present_BRK1, less_mean(moments, mean_BR1C, dim=-1), 0)


def affinity_loss(student_graph: Tensor, teacher_graph: Tensor, present: Tensor) -> Tensor:
    """Mean squared gap of two affinity graphs over pairs of present regions; a scalar.

    Averaged per image over orders and pairs (diagonal included), then over the images that have any present region.
    If no image has one, it is 0, still attached to the graph. The paper always divides by 3 K^2; we divide by what is
    present, so that images with few markings count as much as others. If all regions are present, both are the same.

    Args:
        student_graph: (B, R, K, K); only here gradient flows.
        teacher_graph: (B, R, K, K).
        present: (B, R, K) bool.
    """
    total, count = affinity_sum(student_graph, teacher_graph, present)
    return total / count.clamp_min(1)


def affinity_sum(
    student_graph: Tensor,
    teacher_graph: Tensor,
    present: Tensor,
    *,
    order_weights: Sequence[float] = (),
    sizes: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`affinity_loss` as (sum over images, number of images that have any pair that counts).

    Args:
        order_weights: R factors; the average over orders and pairs is weighted with them. Empty: 1 each.
        sizes: (B, K) cells of the student's regions: a pair then counts as sqrt(n_i n_j). None: all pairs count alike.
    """
    if student_graph.shape != teacher_graph.shape or student_graph.shape[:3] != present.shape:
        shapes = [tuple(tensor.shape) for tensor in (student_graph, teacher_graph, present)]
        found = f"student {shapes[0]}, teacher {shapes[1]}, present {shapes[2]}"
        rule = "student's and teacher's graphs (B, R, K, K) and presence (B, R, K) must match"
        raise SettingError("affinity loss", rule, found, "train the teacher with the student's classes and orders")
    weight_BRKK = (present.unsqueeze(-1) & present.unsqueeze(-2)).to(student_graph.dtype)
    if order_weights:
        weight_BRKK = weight_BRKK * student_graph.new_tensor(order_weights).view(-1, 1, 1)
    if sizes is not None:
        root_B1K = sizes.to(student_graph.dtype).sqrt().unsqueeze(1)
        weight_BRKK = weight_BRKK * root_B1K.unsqueeze(-1) * root_B1K.unsqueeze(-2)
    gap_BRKK = (student_graph - teacher_graph.detach()).square()
    total_B = (weight_BRKK * gap_BRKK).sum(dim=(1, 2, 3))
    sum_B = weight_BRKK.sum(dim=(1, 2, 3))
    counts_B = sum_B > 0
    return (total_B / torch.where(counts_B, sum_B, 1)).sum(), counts_B.sum()
