"""Central moments of regions: sums of powers, in the two ways that pay.

Hard masks: one pass over the features sums the powers of (x - shift) over groups of cells, each group shifted by its
own mean in float32, and the few groups are merged into regions. A shift per group is at least as fine as one per
region, so nothing cancels, whatever the ratio of mean to spread.

Weights, or masks so ragged that groups do not pay: matrix products of masks and powers in float64 around the mean of
each channel. There |mean - channel mean| / sd enters to the power of the order.
"""

# B images, K classes, C channels, h w feature height and width, N = h w cells, M = B N cells of the batch,
# G groups of cells, P pairs (group, region that holds it), Q = B K regions, J powers

from math import comb
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from intra_search.distill.cell_groups import CellGroups, group_cells

CELLS_PER_CHUNK = 512
"""Cells handled at a time, so that powers stay in the processor's cache; a GPU takes all at once."""
MAX_ORDER = 6
BINOMIALS = torch.tensor([[comb(order, j) for j in range(MAX_ORDER + 1)] for order in range(MAX_ORDER + 1)])
PAYING_SHARE = 8
"""Groups pay as long as there are at least so many cells per pair of group and region."""


class CentralMoments(NamedTuple):
    """Mean and central moments of every channel over every region; all 0 for an absent region."""

    mean: Tensor
    """(B, K, C)."""
    central: Tensor
    """E[((x - mean) / unit)^r] for r = 2, 3, ..., R: (R - 1, B, K, C)."""
    unit: Tensor
    """(C,): a power of two near the largest feature of the channel, so that no power leaves float32."""
    varies: Tensor
    """(B, K, C) bool: the variance is more than rounding, and large enough to divide by."""
    symmetric: Tensor
    """(B, K) bool: regions of exactly two cells, which lie symmetric about their mean."""


def central_moments(features: Tensor, masks: Tensor, highest: int) -> CentralMoments:
    """Moments up to order `highest` >= 2 of (B, C, h, w) features, float32 or 64, over (B, K, h, w) masks."""
    masks_BKN = masks.flatten(2)
    if not bool((masks_BKN * (1 - masks_BKN)).any()):
        groups = group_cells(masks_BKN)
        if len(groups.pair_group) * PAYING_SHARE <= features.shape[0] * masks_BKN.shape[2]:
            return _moments_of_groups(features, groups, masks.shape[1], highest)
    return _moments_by_products(features, masks_BKN, highest)


def powers(x: Tensor, highest: int) -> Tensor:
    """x, x^2, ..., x^highest: (J, ...)."""
    return _Powers.apply(x, highest)  # type: ignore[no-any-return]


def power_sums(x_BNC: Tensor, masks_BKN: Tensor, highest: int, *, masks_to_powers: bool = False) -> Tensor:
    """Sums over cells of M x^j, or (M x)^j, for j = 1 .. highest: (J, B, K, C)."""
    masks_JBKN = powers(masks_BKN, highest) if masks_to_powers else masks_BKN
    return masks_JBKN @ powers(x_BNC, highest)


def shifted(zeroth: Tensor, sums_J: Tensor, centre: Tensor) -> Tensor:
    """Sums of (x - centre)^r, r = 2 .. J, from those of x^0 (`zeroth`) and of x^1 .. x^J: (J - 1, ...).

    By the binomial theorem: the sum over j of (r over j) (-centre)^(r - j) times the sum of x^j.
    """
    highest, shape = len(sums_J), centre.shape
    sums_J = torch.cat([zeroth.expand_as(centre).unsqueeze(0), sums_J])
    # Row 0 is what stands where j > r, row i + 1 is (-centre)^i.
    zero_and_one = torch.stack([torch.zeros_like(centre), torch.ones_like(centre)])
    rows = torch.cat([zero_and_one, powers(-centre, highest)])
    order_R1, j_J = torch.arange(2, highest + 1).unsqueeze(1), torch.arange(highest + 1)
    row_RJ = (order_R1 - j_J + 1).clamp_min(0).to(centre.device)
    binomial_RJ = BINOMIALS[2 : highest + 1, : highest + 1].to(centre)
    factors_RJ = rows.index_select(0, row_RJ.flatten()).view(*row_RJ.shape, *shape)
    return (binomial_RJ.view(*row_RJ.shape, *(1 for _ in shape)) * factors_RJ * sums_J).sum(dim=1)


def rounding(dtype: torch.dtype) -> float:
    """Variance below this share of the mean square around the shift is rounding of a constant channel."""
    return 500 * torch.finfo(dtype).eps


def _moments_by_products(features: Tensor, masks_BKN: Tensor, highest: int) -> CentralMoments:
    x_BNC = features.flatten(2).transpose(1, 2).double()
    masks_BKN = masks_BKN.double()
    weight_BK1 = masks_BKN.sum(dim=2, keepdim=True)
    share_BKN = masks_BKN / torch.where(weight_BK1 > 0, weight_BK1, 1)
    shift_B1C = x_BNC.detach().mean(dim=1, keepdim=True)
    means_BKC = power_sums(x_BNC - shift_B1C, share_BKN, highest)
    one = torch.ones_like(weight_BK1)
    central = shifted(one, means_BKC, means_BKC[0])
    varies_BKC = central[0].detach() > rounding(torch.float64) * means_BKC[1].detach()
    mean_BKC = torch.where(weight_BK1 > 0, means_BKC[0] + shift_B1C, 0)
    two_cells_BK = ((masks_BKN > 0).sum(dim=2) == 2) & (weight_BK1.squeeze(2) == 2)
    return CentralMoments(mean_BKC, central, x_BNC.new_ones(x_BNC.shape[2]), varies_BKC, two_cells_BK)


def _moments_of_groups(features: Tensor, groups: CellGroups, num_classes: int, highest: int) -> CentralMoments:
    num_images, channels = features.shape[:2]
    num_regions = num_images * num_classes
    values = features.detach()
    unit_C = _power_of_two(torch.maximum(values.amax(dim=(0, 2, 3)), -values.amin(dim=(0, 2, 3))))
    sums_JGC, shift_GC = _GroupSums.apply(features, groups, unit_C, highest)
    cells_P1 = groups.num_cells[groups.pair_group].unsqueeze(1).to(features.dtype)

    def over_regions(values_PX: Tensor) -> Tensor:
        zeros_QX = values_PX.new_zeros(*values_PX.shape[:-2], num_regions, values_PX.shape[-1])
        return zeros_QX.index_add(-2, groups.pair_region, values_PX)

    cells_Q1 = over_regions(cells_P1.double())
    share_Q1 = 1 / cells_Q1.clamp_min(1)
    sums_JPC = sums_JGC.index_select(1, groups.pair_group)
    # Only the mean itself, and its distance from a group's shift, need float64: all after it are small numbers.
    shift_PC = shift_GC[groups.pair_group].double()
    mean_QC = over_regions(sums_JPC[0] * unit_C.double() + cells_P1 * shift_PC) * share_Q1
    offset_PC = ((mean_QC[groups.pair_region] - shift_PC) / unit_C).to(features.dtype)
    share_Q1 = share_Q1.to(features.dtype)
    central = over_regions(shifted(cells_P1, sums_JPC, offset_PC)) * share_Q1
    around_shift_QC = over_regions(sums_JPC[1].detach() + cells_P1 * offset_PC.detach().square()) * share_Q1
    floor_QC = (rounding(features.dtype) * around_shift_QC).clamp_min(_smallest_variance(features.dtype, highest))
    varies_QC = central[0].detach() > floor_QC
    shape = (num_images, num_classes, channels)
    return CentralMoments(
        mean_QC.view(shape),
        central.view(-1, *shape),
        unit_C,
        varies_QC.view(shape),
        cells_Q1.view(shape[:2]) == 2,
    )


def _power_of_two(size: Tensor) -> Tensor:
    """The power of two just above each size, by which division is exact; 1 for 0."""
    return torch.where(size > 0, torch.ldexp(torch.ones_like(size), torch.frexp(size).exponent), 1)


def _smallest_variance(dtype: torch.dtype, highest: int) -> float:
    """Below it sd^highest, or its inverse times a gradient, would leave the type: sd 1e-10 of the unit for order 3."""
    return float((torch.finfo(dtype).tiny * 1e8) ** (2 / highest))


class _Powers(torch.autograd.Function):
    """By hand, because autograd of `cumprod` divides by x, which may be 0, and takes three times as long."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, highest: int) -> Tensor:
        powers_J = _by_doubling(x, highest)
        ctx.save_for_backward(powers_J)
        return powers_J

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_J: Tensor) -> tuple[Tensor | None, ...]:
        (powers_J,) = ctx.saved_tensors
        return _slope_(_times_order(gradient_J), powers_J[:-1]), None


def _by_doubling(x: Tensor, highest: int) -> Tensor:
    """Powers 1 .. J from those below: three products for six orders, a third of the time of `torch.cumprod`."""
    powers_J = x.new_empty(highest, *x.shape)
    powers_J[0], done = x, 1
    while done < highest:
        more = min(done, highest - done)
        torch.mul(powers_J[:more], powers_J[done - 1], out=powers_J[done : done + more])
        done += more
    return powers_J


def _times_order(gradient_J: Tensor) -> Tensor:
    """g1, 2 g2, 3 g3, ..."""
    order_J = torch.arange(1, len(gradient_J) + 1, device=gradient_J.device)
    return gradient_J * order_J.view(-1, *(1 for _ in gradient_J.shape[1:]))


def _slope_(factors_J: Tensor, powers_J: Tensor) -> Tensor:
    """f1 + f2 x + f3 x^2 + ..., the powers without the last; writes into the factors."""
    factors_J[1:].mul_(powers_J)
    return factors_J.sum(dim=0)


class _GroupSums(torch.autograd.Function):
    """Sums over each group of ((x - shift) / unit)^j, j = 1 .. J, and the shift: the group's mean, up to rounding.

    The shift is a constant to autograd: what is made of the sums does not depend on it. By hand, because the chain of
    powers would keep a copy of the features for each; this keeps one, as rows, and recomputes.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, groups: CellGroups, unit_C: Tensor, highest: int) -> tuple[Tensor, Tensor]:
        rows_MC, group_of_cell = _rows(features), groups.group_of_cell
        zeros_GC = rows_MC.new_zeros(len(groups.num_cells), rows_MC.shape[1])
        shift_GC = zeros_GC.index_add(0, group_of_cell, rows_MC) / groups.num_cells.to(rows_MC.dtype).unsqueeze(1)
        sums_JGC = rows_MC.new_zeros(highest, *zeros_GC.shape)
        distances = _Distances(rows_MC, group_of_cell, shift_GC, unit_C)
        for chunk in _chunks(rows_MC):
            sums_JGC.index_add_(1, group_of_cell[chunk], _by_doubling(distances.of(chunk), highest))
        ctx.save_for_backward(rows_MC, group_of_cell, shift_GC, unit_C)
        ctx.shape, ctx.is_contiguous = features.shape, features.is_contiguous()
        ctx.mark_non_differentiable(shift_GC)
        return sums_JGC, shift_GC

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_JGC: Tensor, _shift: Tensor) -> tuple[Tensor | None, ...]:
        rows_MC, group_of_cell, shift_GC, unit_C = ctx.saved_tensors
        factors_JGC = _times_order(gradient_JGC / unit_C)
        result_MC = torch.empty_like(rows_MC)
        distances = _Distances(rows_MC, group_of_cell, shift_GC, unit_C)
        for chunk in _chunks(rows_MC):
            factors_JnC = factors_JGC.index_select(1, group_of_cell[chunk])
            result_MC[chunk] = _slope_(factors_JnC, _by_doubling(distances.of(chunk), len(factors_JGC) - 1))
        return _images(result_MC, ctx.shape, contiguous=ctx.is_contiguous), None, None, None


class _Distances:
    """(x - shift) / unit of a chunk of cells."""

    def __init__(self, rows_MC: Tensor, group_of_cell: Tensor, shift_GC: Tensor, unit_C: Tensor) -> None:
        self._rows_MC = rows_MC
        self._group_of_cell = group_of_cell
        # Dividing by a power of two is exact, so x / unit - shift / unit is the same number.
        self._minus_shift_GC = -shift_GC / unit_C
        self._scale_C = 1 / unit_C

    def of(self, chunk: slice) -> Tensor:
        minus_shift = self._minus_shift_GC.index_select(0, self._group_of_cell[chunk])
        return minus_shift.addcmul_(self._rows_MC[chunk], self._scale_C)


def _chunks(rows_MC: Tensor) -> list[slice]:
    size = CELLS_PER_CHUNK if rows_MC.device.type == "cpu" else max(len(rows_MC), 1)
    return [slice(start, start + size) for start in range(0, len(rows_MC), size)]


def _rows(features: Tensor) -> Tensor:
    """(B, C, h, w) as (B h w, C); a view if the features are channels-last."""
    return features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])


def _images(rows_MC: Tensor, shape: torch.Size, *, contiguous: bool) -> Tensor:
    """The inverse of `_rows`, contiguous or channels-last."""
    num_images, channels, height, width = shape
    if contiguous:
        # Transposed in two dimensions, then by whole rows: three times faster than torch's copy in four dimensions.
        images_CBhw = rows_MC.t().contiguous().view(channels, num_images, height, width)
        return images_CBhw.transpose(0, 1).contiguous()
    return rows_MC.view(num_images, height, width, channels).permute(0, 3, 1, 2)
