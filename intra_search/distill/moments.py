"""Moments of features inside regions. Hou et al. 2020, section 3.2."""

# B images, R orders, K classes, C channels, h w feature height and width, N = h w cells

from collections.abc import Sequence
from math import comb
from typing import Literal, get_args

import torch
from torch import Tensor

from intra_search.errors import SettingError

Variant = Literal["textbook", "variance", "literal", "sketch"]
MAX_ORDER = 6
ZERO_VARIANCE = 1e-13
"""Variance below this share of the mean square is rounding of a constant channel."""
SKETCH_EPS = 1e-10
"""`small_num` of the author's sketch: absolute, so that features below about 1e-5 lose their higher orders."""


def region_moments(features: Tensor, masks: Tensor, orders: Sequence[int], *, variant: Variant = "textbook") -> Tensor:
    """Moments of every channel over the cells of every region: (B, R, K, C).

    Order 1 is the mean, 2 the population variance, r >= 3 the mean of ((x - mean) / sd)^r. A channel without variance
    gives 0 for r >= 2, a region without cells gives 0. Sums run in float64 around each channel's mean.

    Args:
        features: (B, C, h, w), any float type.
        masks: (B, K, h, w), 0 or 1, or weights in 0..1 (`region_masks`); weighted means then.
        orders: distinct orders out of 1..6, in the order in which they are returned.
        variant: "textbook" as above; "variance" divides by the variance where the textbook divides by sd, as the
            paper's formula is printed; "literal" also lets the cells outside the region add (0 - mean)^r, as printed;
            "sketch" divides by all cells instead of the region's and adds 1e-10 to the variance, as in the author's
            posted sketch (what of it is known: the norm and the epsilon).

    Returns float32 for "textbook" (float64 for float64 features); float64 for the others, whose units overflow.
    """
    check_orders(orders)
    check_same_grid(features, masks)
    if variant not in get_args(Variant):
        raise SettingError(
            "variant", f"must be one of {', '.join(get_args(Variant))}", repr(variant), "see docs/method.md"
        )
    x_BNC = features.flatten(2).transpose(1, 2).double()
    masks_BKN = masks.flatten(2).double()
    if variant in ("literal", "sketch"):
        return _moments_as_printed(x_BNC, masks_BKN, orders, sketch=variant == "sketch")
    moments = _moments_within(x_BNC, masks_BKN, orders, denominator_power=1 if variant == "textbook" else 2)
    return moments.to(torch.promote_types(features.dtype, torch.float32)) if variant == "textbook" else moments


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
    raise SettingError(
        "region moments",
        "features (B, C, h, w) and masks (B, K, h, w) must match",
        f"features {tuple(features.shape)}, masks {tuple(masks.shape)}",
        "pass the features' (h, w) as `size` to region_masks",
    )


def _moments_within(x_BNC: Tensor, masks_BKN: Tensor, orders: Sequence[int], denominator_power: int) -> Tensor:
    """Moments of the cells inside, central ones of order >= 3 divided by sd^(order * denominator_power)."""
    weight_BK1 = masks_BKN.sum(dim=2, keepdim=True)
    share_BKN = masks_BKN / torch.where(weight_BK1 > 0, weight_BK1, 1)
    shift_B1C = x_BNC.detach().mean(dim=1, keepdim=True)
    powers_BKC = _power_sums(x_BNC - shift_B1C, share_BKN, max(*orders, 2))
    mean_BKC, square_BKC = powers_BKC[0], powers_BKC[1]
    variance_BKC = square_BKC - mean_BKC.square()
    varies_BKC = variance_BKC.detach() > ZERO_VARIANCE * square_BKC.detach()
    sd_BKC = torch.where(varies_BKC, variance_BKC, 1).sqrt()
    # Two values lie symmetric about their mean: odd orders are 0, and rounding must not reach the cosine, which would
    # blow it up to a vector of length 1.
    two_cells_BK1 = ((masks_BKN > 0).sum(dim=2, keepdim=True) == 2) & (weight_BK1 == 2)
    moments = []
    for order in orders:
        if order == 1:
            moments.append(torch.where(weight_BK1 > 0, mean_BKC + shift_B1C, 0))
            continue
        central_BKC = _central(torch.ones_like(weight_BK1), powers_BKC, mean_BKC, order)
        if order > 2:
            central_BKC = central_BKC / sd_BKC ** (order * denominator_power)
        valid_BKC = varies_BKC & ~two_cells_BK1 if order % 2 else varies_BKC
        moments.append(torch.where(valid_BKC, central_BKC, 0))
    return torch.stack(moments, dim=1)


def _moments_as_printed(x_BNC: Tensor, masks_BKN: Tensor, orders: Sequence[int], *, sketch: bool) -> Tensor:
    """The formulas with M * F inside the brackets: cells outside the region enter as 0 - mean."""
    num_cells = masks_BKN.shape[2]
    cells_BK1 = (masks_BKN > 0).sum(dim=2, keepdim=True).double()
    norm_BK1 = torch.full_like(cells_BK1, num_cells) if sketch else cells_BK1.clamp_min(1)
    sums_BKC = [total / norm_BK1 for total in _power_sums(x_BNC, masks_BKN, max(*orders, 2), masks_to_powers=True)]
    mean_BKC = sums_BKC[0]
    spread_BKC = _central(num_cells / norm_BK1, sums_BKC, mean_BKC, 2)
    varies_BKC = (spread_BKC.detach() > ZERO_VARIANCE * sums_BKC[1].detach()) & (cells_BK1 > 0)
    divisor_BKC = torch.where(varies_BKC, spread_BKC, 1) + (SKETCH_EPS if sketch else 0)
    moments = []
    for order in orders:
        if order == 1:
            moments.append(mean_BKC)
            continue
        central_BKC = spread_BKC
        if order > 2:
            central_BKC = _central(num_cells / norm_BK1, sums_BKC, mean_BKC, order) / divisor_BKC**order
        moments.append(torch.where(varies_BKC, central_BKC, 0))
    return torch.stack(moments, dim=1)


def _power_sums(x_BNC: Tensor, masks_BKN: Tensor, highest: int, *, masks_to_powers: bool = False) -> list[Tensor]:
    """Sums over cells of M x^j, or (M x)^j, for j = 1 .. highest, each (B, K, C)."""
    power_BNC, weights_BKN = x_BNC, masks_BKN
    sums = [torch.bmm(weights_BKN, power_BNC)]
    for _ in range(highest - 1):
        power_BNC = power_BNC * x_BNC
        if masks_to_powers:
            weights_BKN = weights_BKN * masks_BKN
        sums.append(torch.bmm(weights_BKN, power_BNC))
    return sums


def _central(zeroth: Tensor, sums: list[Tensor], centre: Tensor, order: int) -> Tensor:
    """Sum of (x - centre)^order from the sums of x^0 (`zeroth`) and x^1, x^2, ..., by the binomial theorem."""
    central = zeroth * (-centre) ** order
    for j in range(1, order + 1):
        central = central + comb(order, j) * sums[j - 1] * (-centre) ** (order - j)
    return central
