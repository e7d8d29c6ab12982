"""Attention maps: where a feature map is active. Hou et al. 2020, L_a; the map as in Zagoruyko & Komodakis 2017.

The paper's map, as recalled, is a softmax over sums of squares of all channels. Such sums are large and far apart for
the features of real networks, so the softmax puts everything on one cell. So three forms can be chosen.
"""

# B images, C channels, h w feature height and width

from typing import Literal

import torch
from torch import Tensor, nn

from intra_search.distill.unit import full_precision, standardised, unit
from intra_search.errors import SettingError

MapForm = Literal["standardised", "l2", "sum"]
LIMIT = 3.0
"""Deviations from the mean size, in standard deviations, that a standardised map tells apart: of N positions a single
one can lie sqrt(N - 1) away, and the softmax would put everything on it."""


def map_of_form(
    features: Tensor, form: MapForm, temperature: float = 1.0, size: tuple[int, int] | None = None
) -> Tensor:
    """The attention map of one form: (B, C, h, w) to (B, h', w'), resized bilinearly to `size`.

    `standardised`: softmax over positions of 3 tanh(z / 3) / temperature, z = (r - mean) / sd, where r is the root of
    the mean of squares over channels, and mean and sd are those of the image's positions: the same for any number of
    channels and any scale. The root and the tanh, since a few very large cells would take all. `l2`: mean of squares
    divided by its L2 norm over positions (`transfer_map`). `sum`: softmax of the sum of squares divided by the
    temperature (`attention_map`).
    """
    if form == "l2":
        return transfer_map(features, size)
    if form == "sum":
        return _softmax(_energy(features, size) * features.shape[1] / temperature)
    size_B1hw = torch.linalg.vector_norm(_of_unit_size(full_precision(features)), dim=1, keepdim=True)
    size_Bhw = resized(size_B1hw, size).squeeze(1)
    deviation_BN = standardised(size_Bhw.flatten(1), dim=1)
    return _softmax((LIMIT * torch.tanh(deviation_BN / LIMIT)).view_as(size_Bhw) / temperature)


def attention_map(features: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Sum of squares over channels, bilinear resize to `size`, softmax over positions: (B, C, h, w) to (B, h', w').

    Each image's map sums to 1. Float32, or float64 for float64 features.
    """
    energy_B1hw = full_precision(features).square().sum(dim=1, keepdim=True)
    return _softmax(resized(energy_B1hw, size).squeeze(1))


def transfer_map(features: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Mean of squares over channels, bilinear resize to `size`, divided by its L2 norm: (B, C, h, w) to (B, h', w').

    The map of attention transfer (Zagoruyko & Komodakis 2017), as in the released code. A zero map stays zero.
    """
    energy_Bhw = _energy(features, size)
    return unit(energy_Bhw.flatten(1), dim=1).view_as(energy_Bhw)


def _energy(features: Tensor, size: tuple[int, int] | None) -> Tensor:
    """Mean of squares over channels, resized: (B, h', w')."""
    return resized(full_precision(features).square().mean(dim=1, keepdim=True), size).squeeze(1)


def _of_unit_size(features: Tensor) -> Tensor:
    """Each image divided by its largest value, so that no square leaves the type; zeros stay."""
    largest = features.detach().abs().amax(dim=(1, 2, 3), keepdim=True)
    return features / torch.where(largest > 0, largest, 1)


def _softmax(energy_Bhw: Tensor) -> Tensor:
    return torch.softmax(energy_Bhw.flatten(1), dim=1).view_as(energy_Bhw)


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
