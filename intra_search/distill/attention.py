"""Attention maps: where a feature map is active. Hou et al. 2020, L_a; the map as in Zagoruyko & Komodakis 2017."""

# B images, C channels, h w feature height and width

import torch
from torch import Tensor, nn

from intra_search.errors import SettingError


def attention_map(features: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Sum of squares over channels, bilinear resize to `size`, softmax over positions: (B, C, h, w) to (B, h', w').

    Sums to 1 per image; float32, or float64 for float64 features.
    """
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    energy_B1hw = features.square().sum(dim=1, keepdim=True)
    if size is not None and tuple(size) != tuple(energy_B1hw.shape[2:]):
        energy_B1hw = nn.functional.interpolate(energy_B1hw, size=size, mode="bilinear", align_corners=False)
    energy_Bhw = energy_B1hw.squeeze(1)
    return torch.softmax(energy_Bhw.flatten(1), dim=1).view_as(energy_Bhw)


def attention_loss(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    """Squared gap of two attention maps (B, h, w), summed over positions, mean over images; a scalar.

    Not divided by h w: the maps sum to one, and the authors advise against it (the loss would be around 1e-9).
    """
    return attention_sum(student_map, teacher_map) / max(len(student_map), 1)


def attention_sum(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    """`attention_loss` before the mean over images."""
    if student_map.shape != teacher_map.shape:
        found = f"student {tuple(student_map.shape)}, teacher {tuple(teacher_map.shape)}"
        remedy = "make the student's map with attention_map(features, size=teacher's size)"
        raise SettingError("attention loss", "maps must have one shape", found, remedy)
    return (student_map - teacher_map.detach()).square().sum()
