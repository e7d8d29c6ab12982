"""Moments of features inside regions. Hou et al. 2020, section 3.2."""

# B images, R orders, K classes, C channels, h w feature height and width, N = h w cells

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from intra_search.distill.power_sums import MAX_ORDER, central_moments, power_sums, rounding, shifted
from intra_search.distill.unit import full_precision
from intra_search.errors import SettingError

Variant = Literal["textbook", "variance", "literal", "sketch"]
SKETCH_EPS = 1e-10
"""`small_num` of the author's sketch. It is absolute: features below about 1e-5 lose their higher orders."""


def region_moments(features: Tensor, masks: Tensor, orders: Sequence[int], *, variant: Variant = "textbook") -> Tensor:
    """Moments of every channel over the cells of every region: (B, R, K, C).

    Order 1 is the mean, 2 the population variance, r >= 3 the mean of ((x - mean) / sd)^r. A channel without variance
    gives 0 for r >= 2, a region without cells gives 0. `power_sums` says how sums are computed, and how accurately.

    Args:
        features: (B, C, h, w), any float type.
        masks: (B, K, h, w), 0 or 1, or weights in 0..1 (`region_masks`), which give weighted means.
        orders: distinct orders out of 1..6, in the order in which they are returned.
        variant: "textbook" as above; "variance" divides by the variance where the textbook divides by sd, as printed
            in the paper; "literal" also adds (0 - mean)^r for each cell outside the region, as printed; "sketch"
            divides by the number of all cells, not of the region's, and adds 1e-10 to the variance, as in the author's
            posted sketch (of which only these two details are known).

    Returns float32 for "textbook" (float64 for float64 features), float64 for the others, which overflow float32.
    """
    check_orders(orders)
    check_same_grid(features, masks)
    if variant not in get_args(Variant):
        raise SettingError(
            "variant", f"must be one of {', '.join(get_args(Variant))}", repr(variant), "see docs/method.md"
        )
    features = full_precision(features)
    if variant in ("literal", "sketch"):
        return _as_printed(features, masks, orders, sketch=variant == "sketch")
    if variant == "variance":
        return _textbook(features, masks, orders, divisor="variance")
    return _textbook(features, masks, orders, divisor="sd").to(features.dtype)


def region_presence(masks: Tensor, orders: Sequence[int]) -> Tensor:
    """Which regions have a moment of each order: (B, R, K) bool. Order 1 needs one cell, higher orders two."""
    return enough_cells(region_cells(masks), orders)


def region_cells(masks: Tensor) -> Tensor:
    """Cells of each region, those of weight above 0: (B, K, h, w) to (B, K) int64."""
    return (masks > 0).flatten(2).sum(dim=2)


def enough_cells(cells_BK: Tensor, orders: Sequence[int], least: Sequence[int] = (1, 2)) -> Tensor:
    """Which regions have the cells that a moment of each order asks for: (B, R, K) bool.

    Args:
        cells_BK: cells of each region.
        orders: the R orders.
        least: cells asked for by order 1, 2, ...; the last entry counts for all higher orders. Order 1 needs one at
            least, higher orders two.
    """
    check_orders(orders)
    needed = [max(least[min(order, len(least)) - 1], 1 if order == 1 else 2) for order in orders]
    return cells_BK.unsqueeze(1) >= torch.tensor(needed, device=cells_BK.device).unsqueeze(1)


def check_orders(orders: Sequence[int]) -> None:
    """Raises `SettingError` unless the orders are distinct and within 1..6."""
    if not orders or len(set(orders)) != len(orders) or not set(orders) <= set(range(1, MAX_ORDER + 1)):
        raise SettingError(
            "orders", f"must be distinct and within 1..{MAX_ORDER}", list(orders), "the paper: [1, 2, 3]"
        )


def check_same_grid(features: Tensor, masks: Tensor) -> None:
    """Raises `SettingError` unless masks and features have the same images and the same height and width."""
    if features.dim() == 4 and masks.dim() == 4:
        if features.shape[0] == masks.shape[0] and features.shape[2:] == masks.shape[2:]:
            return
    raise SettingError(
        "region moments",
        "features (B, C, h, w) and masks (B, K, h, w) must match",
        f"features {tuple(features.shape)}, masks {tuple(masks.shape)}",
        "pass the features' (h, w) as `size` to region_masks",
    )


def _textbook(features: Tensor, masks: Tensor, orders: Sequence[int], *, divisor: str) -> Tensor:
    """Moments of the cells inside the region; those of order r >= 3 are divided by "sd"^r or "variance"^r."""
    mean_BKC, central, unit_C, varies_BKC, symmetric_BK = central_moments(features, masks, max(orders))
    if tuple(orders) == (1,):
        return mean_BKC.unsqueeze(1)
    variance_BKC = torch.where(varies_BKC, central[0], 1)
    divisor_BKC = variance_BKC.sqrt()
    if divisor == "variance":  # (x / unit)^r over (x / unit)^(2 r): the unit does not cancel
        divisor_BKC = variance_BKC.double() * unit_C
    # Odd orders of symmetric values are 0. Rounding errors there would count fully: the cosine ignores lengths.
    skewed_BKC = varies_BKC & ~symmetric_BK.unsqueeze(2)
    mean_BKC, spread_BKC = mean_BKC.to(divisor_BKC.dtype), central[0] * unit_C.square()
    return _of_orders(orders, mean_BKC, spread_BKC, central[1:], divisor_BKC, varies_BKC, skewed_BKC)


def _as_printed(features: Tensor, masks: Tensor, orders: Sequence[int], *, sketch: bool) -> Tensor:
    """The formulas as printed, with M * F inside the brackets: a cell outside the region adds (0 - mean)^r."""
    x_BNC, masks_BKN = features.flatten(2).transpose(1, 2).double(), masks.flatten(2).double()
    num_cells = masks_BKN.shape[2]
    cells_BK1 = (masks_BKN > 0).sum(dim=2, keepdim=True).double()
    norm_BK1 = torch.full_like(cells_BK1, num_cells) if sketch else cells_BK1.clamp_min(1)
    means_JBKC = power_sums(x_BNC, masks_BKN, max(*orders, 2)) / norm_BK1
    central = shifted(num_cells / norm_BK1, means_JBKC, means_JBKC[0])
    varies_BKC = (central[0].detach() > rounding(torch.float64) * means_JBKC[1].detach()) & (cells_BK1 > 0)
    divisor_BKC = torch.where(varies_BKC, central[0], 1) + (SKETCH_EPS if sketch else 0)
    return _of_orders(orders, means_JBKC[0], central[0], central[1:], divisor_BKC, varies_BKC, varies_BKC)


def _of_orders(
    orders: Sequence[int],
    mean_BKC: Tensor,
    spread_BKC: Tensor,
    higher: Tensor,
    divisor_BKC: Tensor,
    varies_BKC: Tensor,
    skewed_BKC: Tensor,
) -> Tensor:
    """The asked-for orders, (B, R, K, C): mean, spread, and the `higher` central moments (order 3 first) divided by
    divisor^order. 0 where the channel does not vary; odd orders are 0 where it is not skewed."""

    def of_order(order: int) -> Tensor:
        if order == 1:
            return mean_BKC
        if order == 2:
            return torch.where(varies_BKC, spread_BKC, 0)
        return torch.where(skewed_BKC if order % 2 == 1 else varies_BKC, higher[order - 3] / divisor_BKC**order, 0)

    return torch.stack([of_order(order) for order in orders], dim=1)
