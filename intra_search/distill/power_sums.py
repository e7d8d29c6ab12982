"""Central moments of regions from sums of powers, in one of two ways.

Hard masks (0 or 1): one float32 pass over the features sums powers of (x - shift) over each fragment, and the few
fragments are then added up to regions. The shift is the fragment's own mean, so no large numbers cancel, whatever the
ratio of mean to spread.

Matrix products of masks and powers, in float64 and shifted by the mean of each channel: for soft masks, for masks so
ragged that there are too many fragments, and where they are faster: on a GPU, and for orders 1 and 2 of small maps.
Rounding errors there grow as (|mean - channel mean| / sd)^order.
"""

# B images, K classes, C channels, h w feature height and width, N = h w cells, M = B N cells of the batch,
# F fragments, P pairs (fragment, region that holds it), Q = B K regions, J powers

from math import comb
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from intra_search.distill.fragments import Fragments, fragments_of

CELLS_PER_CHUNK = 512
"""Cells of fragments handled at a time, so that their powers fit the processor's cache."""
MAX_ORDER = 6
BINOMIALS = torch.tensor([[comb(order, j) for j in range(MAX_ORDER + 1)] for order in range(MAX_ORDER + 1)])
PAYING_SHARE = 8
"""Fragments are used where there are at least this many cells per pair of fragment and region: they are faster then."""
VALUES_OF_PRODUCTS = 2**18
"""Up to so many features of a batch, products are faster than fragments for orders 1 and 2: 1.1 to 2.8 times with 12
and 37 classes. In larger maps their float64 copies leave the cache; there fragments are up to 8 times faster."""

POWERS_PER_CHUNK = 2**25
"""Powers that matrix products hold at a time: 256 MiB in float64."""


class CentralMoments(NamedTuple):
    """Mean and central moments of every channel over every region; all 0 for an absent region."""

    mean: Tensor
    """(B, K, C)."""
    central: Tensor
    """E[((x - mean) / unit)^r] for r = 2, 3, ..., R: (R - 1, B, K, C)."""
    unit: Tensor
    """(C,): a power of two near the channel's largest feature, so that no power overflows float32."""
    varies: Tensor
    """(B, K, C) bool: the variance is more than rounding error, and large enough to divide by."""
    symmetric: Tensor
    """(B, K) bool: the region has exactly two cells, which lie at equal distances from their mean."""


def central_moments(features: Tensor, masks: Tensor, highest: int) -> CentralMoments:
    """Moments up to order `highest` of (B, C, h, w) features, float32 or 64, over (B, K, h, w) masks.

    For `highest` 1, `central` and `varies` may be empty.
    """
    masks_BKN = masks.flatten(2)
    if features.device.type != "cpu" or (highest <= 2 and features.numel() <= VALUES_OF_PRODUCTS):
        return _moments_by_products(features, masks_BKN, highest)
    highest = max(highest, 2)
    if not bool((masks_BKN * (1 - masks_BKN)).any()):
        fragments = fragments_of(masks_BKN)
        if len(fragments.pair_fragment) * PAYING_SHARE <= features.shape[0] * masks_BKN.shape[2]:
            return _moments_of_fragments(features, fragments, masks.shape[1], highest)
    return _moments_by_products(features, masks_BKN, highest)


def powers(x: Tensor, highest: int) -> Tensor:
    """x, x^2, ..., x^highest: (J, ...)."""
    return _Powers.apply(x, highest)  # type: ignore[no-any-return]


def power_sums(x_BNC: Tensor, masks_BKN: Tensor, highest: int) -> Tensor:
    """Sums over cells of (M x)^j for j = 1 .. highest: (J, B, K, C)."""
    return powers(masks_BKN, highest) @ powers(x_BNC, highest)


def shifted(zeroth: Tensor, sums_J: Tensor, centre: Tensor) -> Tensor:
    """Sums of (x - centre)^r, r = 2 .. J, from those of x^0 (`zeroth`) and of x^1 .. x^J: (J - 1, ...).

    By the binomial theorem: the sum over j of (r over j) (-centre)^(r - j) times the sum of x^j.
    """
    highest, shape = len(sums_J), centre.shape
    if highest <= 2:  # written out: the general form takes two dozen small operations
        return sums_J[1:] + centre * (zeroth * centre - 2 * sums_J[:1]) if highest == 2 else sums_J[1:]
    sums_J = torch.cat([zeroth.expand_as(centre).unsqueeze(0), sums_J])
    # Row 0 is the 0 for j > r, row i + 1 is (-centre)^i.
    zero_and_one = torch.stack([torch.zeros_like(centre), torch.ones_like(centre)])
    rows = torch.cat([zero_and_one, powers(-centre, highest)])
    order_R1, j_J = torch.arange(2, highest + 1).unsqueeze(1), torch.arange(highest + 1)
    row_RJ = (order_R1 - j_J + 1).clamp_min(0).to(centre.device)
    binomial_RJ = BINOMIALS[2 : highest + 1, : highest + 1].to(centre)
    factors_RJ = rows.index_select(0, row_RJ.flatten()).view(*row_RJ.shape, *shape)
    return (binomial_RJ.view(*row_RJ.shape, *(1 for _ in shape)) * factors_RJ * sums_J).sum(dim=1)


def rounding(dtype: torch.dtype) -> float:
    """A channel counts as constant when its variance is below this share of its mean square around the shift."""
    return 500 * torch.finfo(dtype).eps


def _moments_by_products(features: Tensor, masks_BKN: Tensor, highest: int) -> CentralMoments:
    masks_BKN = masks_BKN.double()
    weight_BK1 = masks_BKN.sum(dim=2, keepdim=True)
    share_BKN = masks_BKN / torch.where(weight_BK1 > 0, weight_BK1, 1)
    shift_B1C = features.detach().mean(dim=(2, 3), dtype=torch.float64).unsqueeze(1)
    means_JBKC: Tensor = _ProductSums.apply(features, share_BKN, shift_B1C, highest)
    mean_BKC = torch.where(weight_BK1 > 0, means_JBKC[0] + shift_B1C, 0)
    central = shifted(torch.ones_like(weight_BK1), means_JBKC, means_JBKC[0])
    around_shift = means_JBKC[1:2].detach()
    varies = central[:1].detach() > rounding(torch.float64) * around_shift
    two_cells_BK = (weight_BK1.squeeze(2) == 2) & ((masks_BKN > 0).sum(dim=2) == 2)
    unit_C = shift_B1C.new_ones(features.shape[1])
    return CentralMoments(mean_BKC, central, unit_C, varies.view(-1, *mean_BKC.shape[1:]), two_cells_BK)


def _moments_of_fragments(features: Tensor, fragments: Fragments, num_classes: int, highest: int) -> CentralMoments:
    num_images, channels = features.shape[:2]
    num_regions = num_images * num_classes
    values = features.detach()
    unit_C = _power_of_two(torch.maximum(values.amax(dim=(0, 2, 3)), -values.amin(dim=(0, 2, 3))))
    sums_JFC, shift_FC = _FragmentSums.apply(features, fragments, unit_C, highest)
    cells_P1 = fragments.num_cells[fragments.pair_fragment].unsqueeze(1).to(features.dtype)

    def over_regions(values_PX: Tensor) -> Tensor:
        zeros_QX = values_PX.new_zeros(*values_PX.shape[:-2], num_regions, values_PX.shape[-1])
        return zeros_QX.index_add(-2, fragments.pair_region, values_PX)

    cells_Q1 = over_regions(cells_P1.double())
    share_Q1 = 1 / cells_Q1.clamp_min(1)
    sums_JPC = sums_JFC.index_select(1, fragments.pair_fragment)
    # Only the mean and its distance from a fragment's shift need float64: all later numbers are small.
    shift_PC = shift_FC[fragments.pair_fragment].double()
    mean_QC = over_regions(sums_JPC[0] * unit_C.double() + cells_P1 * shift_PC) * share_Q1
    offset_PC = ((mean_QC[fragments.pair_region] - shift_PC) / unit_C).to(features.dtype)
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
    """The gradient is written by hand: that of `cumprod` divides by x, which may be 0, and takes 3 times as long."""

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
    """Powers 1 .. J, each made from lower ones: 3 products for 6 powers, in a third of the time of `torch.cumprod`."""
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
    """f1 + f2 x + f3 x^2 + ... from x, x^2, ...; overwrites the factors."""
    factors_J[1:].mul_(powers_J)
    return factors_J.sum(dim=0)


class _ProductSums(torch.autograd.Function):
    """Sums over cells of M (x - shift)^j, j = 1 .. J, in float64: (J, B, K, C), all orders in one matrix product.

    Autograd takes the shift for a constant: the moments made from the sums do not depend on it. The gradient is one
    matrix product, too; autograd would repeat the masks for every power. Images are taken a few at a time and powers
    are computed again in the backward pass, so the float64 copies need little memory. Channels-last features are read
    as they lie.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, masks_BKN: Tensor, shift_B1C: Tensor, highest: int) -> Tensor:
        num_images, channels = features.shape[:2]
        sums_BKL = masks_BKN.new_empty(num_images, masks_BKN.shape[1], highest * channels)
        for images in _image_chunks(features, highest):
            powers_bNJC = _shifted_powers(features[images], shift_B1C[images], highest)
            torch.matmul(masks_BKN[images], powers_bNJC.flatten(2), out=sums_BKL[images])
        ctx.save_for_backward(features, masks_BKN, shift_B1C)
        ctx.highest = highest
        return sums_BKL.view(num_images, -1, highest, channels).permute(2, 0, 1, 3).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_JBKC: Tensor) -> tuple[Tensor | None, ...]:
        features, masks_BKN, shift_B1C = ctx.saved_tensors
        factors_BKJC = _times_order(gradient_JBKC).permute(1, 2, 0, 3)
        result = torch.empty_like(features)
        for images in _image_chunks(features, ctx.highest):
            slopes_bNL = masks_BKN[images].transpose(1, 2) @ factors_BKJC[images].flatten(2)
            slopes_bNJC = slopes_bNL.unflatten(2, factors_BKJC.shape[2:])
            slope_bNC = slopes_bNJC[:, :, 0]
            if ctx.highest > 1:
                lower_bNJC = _shifted_powers(features[images], shift_B1C[images], ctx.highest - 1)
                slope_bNC = slope_bNC + slopes_bNJC[:, :, 1:].mul_(lower_bNJC).sum(dim=2)
            result[images] = slope_bNC.transpose(1, 2).view_as(result[images])
        return result, None, None, None


def _shifted_powers(features: Tensor, shift_b1C: Tensor, highest: int) -> Tensor:
    """(x - shift)^j of every cell, j = 1 .. J, in float64: (b, N, J, C)."""
    rows_bNC = features.flatten(2).transpose(1, 2)
    powers_bNJC = shift_b1C.new_empty(*rows_bNC.shape[:2], highest, rows_bNC.shape[2])
    torch.sub(rows_bNC, shift_b1C, out=powers_bNJC[:, :, 0])
    for j in range(1, highest):
        torch.mul(powers_bNJC[:, :, 0], powers_bNJC[:, :, j - 1], out=powers_bNJC[:, :, j])
    return powers_bNJC


def _image_chunks(features: Tensor, highest: int) -> list[slice]:
    size = max(1, POWERS_PER_CHUNK // max(1, highest * features[0].numel()))
    return [slice(start, start + size) for start in range(0, len(features), size)]


class _FragmentSums(torch.autograd.Function):
    """Sums over each fragment of ((x - shift) / unit)^j, j = 1 .. J, and the shift: the fragment's (rounded) mean.

    Autograd takes the shift for a constant: the moments made from the sums do not depend on it. The gradient is written
    by hand, because autograd would keep a copy of the features for each power; this keeps one and recomputes powers.
    """

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, fragments: Fragments, unit_C: Tensor, highest: int
    ) -> tuple[Tensor, Tensor]:
        rows_MC, fragment_of_cell = _rows(features), fragments.fragment_of_cell
        zeros_FC = rows_MC.new_zeros(len(fragments.num_cells), rows_MC.shape[1])
        shift_FC = zeros_FC.index_add(0, fragment_of_cell, rows_MC) / fragments.num_cells.to(rows_MC.dtype).unsqueeze(1)
        sums_JFC = rows_MC.new_zeros(highest, *zeros_FC.shape)
        distances = _Distances(rows_MC, fragment_of_cell, shift_FC, unit_C)
        for chunk in _chunks(rows_MC):
            sums_JFC.index_add_(1, fragment_of_cell[chunk], _by_doubling(distances.of(chunk), highest))
        ctx.save_for_backward(rows_MC, fragment_of_cell, shift_FC, unit_C)
        ctx.shape, ctx.is_contiguous = features.shape, features.is_contiguous()
        ctx.mark_non_differentiable(shift_FC)
        return sums_JFC, shift_FC

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_JFC: Tensor, _shift: Tensor) -> tuple[Tensor | None, ...]:
        rows_MC, fragment_of_cell, shift_FC, unit_C = ctx.saved_tensors
        factors_JFC = _times_order(gradient_JFC / unit_C)
        result_MC = torch.empty_like(rows_MC)
        distances = _Distances(rows_MC, fragment_of_cell, shift_FC, unit_C)
        for chunk in _chunks(rows_MC):
            factors_JnC = factors_JFC.index_select(1, fragment_of_cell[chunk])
            result_MC[chunk] = _slope_(factors_JnC, _by_doubling(distances.of(chunk), len(factors_JFC) - 1))
        return _images(result_MC, ctx.shape, contiguous=ctx.is_contiguous), None, None, None


class _Distances:
    """(x - shift) / unit of a chunk of cells."""

    def __init__(self, rows_MC: Tensor, fragment_of_cell: Tensor, shift_FC: Tensor, unit_C: Tensor) -> None:
        self._rows_MC = rows_MC
        self._fragment_of_cell = fragment_of_cell
        # Dividing by a power of two is exact, so x / unit - shift / unit gives the same number.
        self._minus_shift_FC = -shift_FC / unit_C
        self._scale_C = 1 / unit_C

    def of(self, chunk: slice) -> Tensor:
        minus_shift = self._minus_shift_FC.index_select(0, self._fragment_of_cell[chunk])
        return minus_shift.addcmul_(self._rows_MC[chunk], self._scale_C)


def _chunks(rows_MC: Tensor) -> list[slice]:
    return [slice(start, start + CELLS_PER_CHUNK) for start in range(0, len(rows_MC), CELLS_PER_CHUNK)]


def _rows(features: Tensor) -> Tensor:
    """(B, C, h, w) as (B h w, C); a view if the features are channels-last."""
    return features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])


def _images(rows_MC: Tensor, shape: torch.Size, *, contiguous: bool) -> Tensor:
    """The inverse of `_rows`, contiguous or channels-last."""
    num_images, channels, height, width = shape
    if contiguous:
        # Transpose in two dimensions, then copy whole rows: three times faster than torch's copy in four dimensions.
        images_CBhw = rows_MC.t().contiguous().view(channels, num_images, height, width)
        return images_CBhw.transpose(0, 1).contiguous()
    return rows_MC.view(num_images, height, width, channels).permute(0, 3, 1, 2)
