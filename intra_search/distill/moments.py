"""Moments of features inside regions. Hou et al. 2020, section 3.2."""

# B images, R orders, K classes, C channels, h w feature height and width, N = h w cells

from collections.abc import Sequence
from math import comb

import torch
from torch import Tensor

from intra_search.errors import SettingError

MAX_ORDER = 6
ZERO_VARIANCE = 1e-13
"""Variance below this share of the mean square around the shift is rounding of a constant channel."""


def region_moments(features: Tensor, masks: Tensor, orders: Sequence[int]) -> Tensor:
    """Moments of every channel over the cells of every region: (B, R, K, C), in float32 or the features' float64.

    Order 1 is the mean, 2 the population variance, r >= 3 the mean of ((x - mean) / sd)^r. A channel without variance
    gives 0 for r >= 2, a region without cells gives 0. Sums run in float64 around each channel's mean.

    Args:
        features: (B, C, h, w), any float type.
        masks: (B, K, h, w), 0 or 1 (`region_masks`).
        orders: distinct orders out of 1..6, in the order in which they are returned.
    """
    check_orders(orders)
    check_same_grid(features, masks)
    x_BNC = features.flatten(2).transpose(1, 2).double()
    shift_B1C = x_BNC.detach().mean(dim=1, keepdim=True)
    powers_BKC = _mean_powers(x_BNC - shift_B1C, masks.flatten(2).double(), max(*orders, 2))
    mean_BKC, square_BKC = powers_BKC[1], powers_BKC[2]
    variance_BKC = square_BKC - mean_BKC.square()
    varies_BKC = variance_BKC.detach() > ZERO_VARIANCE * square_BKC.detach()
    sd_BKC = torch.where(varies_BKC, variance_BKC, 1).sqrt()
    cells_BK1 = masks.flatten(2).sum(dim=2).unsqueeze(2)
    moments = []
    for order in orders:
        if order == 1:
            moments.append(torch.where(cells_BK1 > 0, mean_BKC + shift_B1C, 0))
            continue
        central_BKC = _central(powers_BKC, order) / (sd_BKC**order if order > 2 else 1)
        # Two values lie symmetric about their mean: odd orders are 0, and rounding must not reach the cosine, which
        # would blow it up to a vector of length 1.
        symmetric_BK1 = (cells_BK1 == 2) & (order % 2 == 1)
        moments.append(torch.where(varies_BKC & ~symmetric_BK1, central_BKC, 0))
    out_dtype = torch.promote_types(features.dtype, torch.float32)
    return torch.stack(moments, dim=1).to(out_dtype)


def region_presence(masks: Tensor, orders: Sequence[int]) -> Tensor:
    """Which regions have the moment: (B, R, K) bool. Order 1 needs one cell, higher orders two."""
    check_orders(orders)
    needed_R1 = torch.tensor([1 if order == 1 else 2 for order in orders], device=masks.device).unsqueeze(1)
    cells_B1K = (masks > 0).flatten(2).sum(dim=2).unsqueeze(1)
    return cells_B1K >= needed_R1


def check_orders(orders: Sequence[int]) -> None:
    """Raises `SettingError` unless orders are distinct and within 1..6."""
    if not orders or len(set(orders)) != len(orders) or not set(orders) <= set(range(1, MAX_ORDER + 1)):
        raise SettingError(
            "orders", f"must be distinct and within 1..{MAX_ORDER}", list(orders), "the paper: [1, 2, 3]"
        )


def check_same_grid(features: Tensor, masks: Tensor) -> None:
    """Raises `SettingError` unless masks lie on the features' cells."""
    if features.dim() == 4 and masks.dim() == 4:
        if features.shape[0] == masks.shape[0] and features.shape[2:] == masks.shape[2:]:
            return
    found = f"features {tuple(features.shape)}, masks {tuple(masks.shape)}"
    raise SettingError(
        "region moments",
        "features (B, C, h, w) and masks (B, K, h, w) must match",
        found,
        "pass the features' (h, w) as `size` to region_masks",
    )


def _mean_powers(centred_BNC: Tensor, masks_BKN: Tensor, highest: int) -> list[Tensor]:
    """Means of x^0 .. x^highest over each region, each (B, K, C); 0 for an absent region."""
    count_BK1 = masks_BKN.sum(dim=2, keepdim=True)
    share_BKN = masks_BKN / count_BK1.clamp_min(1)
    power_BNC = torch.ones_like(centred_BNC)
    means = [torch.ones_like(count_BK1)]
    for _ in range(highest):
        power_BNC = power_BNC * centred_BNC
        means.append(torch.bmm(share_BKN, power_BNC))
    return means


def _central(powers_BKC: list[Tensor], order: int) -> Tensor:
    """E[(x - m)^order] from E[x^j], by the binomial theorem."""
    minus_mean = -powers_BKC[1]
    central_BKC = minus_mean**order
    for j in range(1, order + 1):
        central_BKC = central_BKC + comb(order, j) * powers_BKC[j] * minus_mean ** (order - j)
    return central_BKC
