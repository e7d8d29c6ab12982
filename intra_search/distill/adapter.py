"""Adapters: 1x1 convolutions that give a student's feature the teacher's number of channels. Used in training only."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from intra_search.distill.attention import resized
from intra_search.distill.term import TermContext
from intra_search.distill.unit import full_precision


class Adapter(nn.Module):
    """(B, C_student, h, w) to (B, C_teacher, h', w'): at the teacher's size, with the teacher's number of channels.

    A larger map is averaged over the teacher's cells before the convolution: so every cell of the student is read, and
    few are convolved (a 1x1 convolution and an average commute). A smaller one is enlarged bilinearly after it.
    """

    def __init__(self, student_channels: int, teacher_channels: int, *, always: bool = True) -> None:
        """`always`: convolve even if the channel counts are equal."""
        super().__init__()
        needed = always or student_channels != teacher_channels
        self.conv = nn.Conv2d(student_channels, teacher_channels, 1, bias=False) if needed else nn.Identity()

    def forward(self, features: Tensor, size: tuple[int, int] | None) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            features = full_precision(features)
            if size is not None and size[0] <= features.shape[2] and size[1] <= features.shape[3]:
                averaged: Tensor = self.conv(nn.functional.adaptive_avg_pool2d(features, size))
                return averaged
            return resized(self.conv(features), size)


def pair_adapters(
    pairs: Iterable[tuple[str, str, float]], context: TermContext, *, always: bool = True
) -> nn.ModuleList:
    """One adapter per (student layer, teacher layer, weight)."""
    student, teacher = context.student_channels, context.teacher_channels
    return nn.ModuleList(Adapter(student[own], teacher[taught], always=always) for own, taught, _ in pairs)
