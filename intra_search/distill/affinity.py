"""Affinity graphs of regions, and the gap between the student's and the teacher's. Hou et al. 2020, section 3.3."""

# B images, R orders, K classes, C channels

import torch
from torch import Tensor

from intra_search.distill.unit import full_precision, unit
from intra_search.errors import SettingError


def affinity_graph(moments: Tensor) -> Tensor:
    """Cosine of the moment vectors of every two regions: (B, R, K, C) to (B, R, K, K). A zero vector gives 0.

    Computed in float32 (float64 for float64 moments), also under autocast.
    """
    unit_BRKC = unit(full_precision(moments), dim=-1)
    with torch.autocast(moments.device.type, enabled=False):  # it would multiply in bfloat16
        return unit_BRKC @ unit_BRKC.transpose(-1, -2)


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


def affinity_sum(student_graph: Tensor, teacher_graph: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """`affinity_loss` as (sum over images, number of images that have any present region)."""
    if student_graph.shape != teacher_graph.shape or student_graph.shape[:3] != present.shape:
        shapes = [tuple(tensor.shape) for tensor in (student_graph, teacher_graph, present)]
        found = f"student {shapes[0]}, teacher {shapes[1]}, present {shapes[2]}"
        rule = "student's and teacher's graphs (B, R, K, K) and presence (B, R, K) must match"
        raise SettingError("affinity loss", rule, found, "train the teacher with the student's classes and orders")
    pairs_BRKK = present.unsqueeze(-1) & present.unsqueeze(-2)
    gap_BRKK = (student_graph - teacher_graph.detach()).square()
    total_B = torch.where(pairs_BRKK, gap_BRKK, 0).sum(dim=(1, 2, 3))
    pairs_B = pairs_BRKK.sum(dim=(1, 2, 3))
    return (total_B / pairs_B.clamp_min(1)).sum(), (pairs_B > 0).sum()
