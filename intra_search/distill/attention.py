"""Attention maps: where a feature map is active. Hou et al. 2020, L_a; the map as in Zagoruyko & Komodakis 2017."""

# B images, C channels, h w feature height and width

import torch
from torch import Tensor, nn

from intra_search.distill.unit import full_precision, unit
from intra_search.errors import SettingError


def attention_map(features: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Sum of squares over channels, bilinear resize to `size`, softmax over positions: (B, C, h, w) to (B, h', w').

    Each image's map sums to 1. Float32, or float64 for float64 features.
    """
    energy_B1hw = full_precision(features).square().sum(dim=1, keepdim=True)
    energy_Bhw = resized(energy_B1hw, size).squeeze(1)
    return torch.softmax(energy_Bhw.flatten(1), dim=1).view_as(energy_Bhw)


def transfer_map(features: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Mean of squares over channels, bilinear resize to `size`, divided by its L2 norm: (B, C, h, w) to (B, h', w').

    The map of attention transfer (Zagoruyko & Komodakis 2017), as in the released code. A zero map stays zero.
    """
    energy_Bhw = resized(full_precision(features).square().mean(dim=1, keepdim=True), size).squeeze(1)
    return unit(energy_Bhw.flatten(1), dim=1).view_as(energy_Bhw)


def resized(maps: Tensor, size: tuple[int, int] | None) -> Tensor:
    """(B, C, h, w) resized bilinearly (`align_corners=False`); `None` keeps the size."""
    if size is None or tuple(size) == tuple(maps.shape[2:]):
        return maps
    return nn.functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def attention_loss(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    """Squared gap of two attention maps (B, h, w), summed over positions, mean over images; a scalar.

    Not divided by h w: the maps sum to 1, and the authors advise against it (the loss would be around 1e-9).
    """
    return attention_gap(student_map, teacher_map).mean()


def attention_gap(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    """`attention_loss` of each image: (B,)."""
    if student_map.shape != teacher_map.shape:
        found = f"student {tuple(student_map.shape)}, teacher {tuple(teacher_map.shape)}"
        remedy = "make the student's map with attention_map(features, size=teacher's size)"
        raise SettingError("attention loss", "maps must have one shape", found, remedy)
    return (student_map - teacher_map.detach()).square().sum(dim=(1, 2))
