"""Moments: values by hand, a float64 oracle of explicit loops, extremes, gradients."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from intra_search.distill.functional import region_moments, region_presence
from intra_search.distill.moments import Variant
from intra_search.errors import SettingError

ORDERS = (1, 2, 3, 4, 5, 6)


def oracle(features: Tensor, masks: Tensor, orders: tuple[int, ...]) -> Tensor:
    """The definition with Python floats: one image, region and channel at a time."""
    batch, channels = features.shape[:2]
    result = torch.zeros(batch, len(orders), masks.shape[1], channels, dtype=torch.float64)
    for b in range(batch):
        for k in range(masks.shape[1]):
            cells = masks[b, k].bool()
            for c in range(channels):
                values = features[b, c][cells].double().tolist()
                if not values:
                    continue
                mean = math.fsum(values) / len(values)
                variance = math.fsum((v - mean) ** 2 for v in values) / len(values)
                for r, order in enumerate(orders):
                    if order == 1:
                        result[b, r, k, c] = mean
                    elif order == 2:
                        result[b, r, k, c] = variance
                    elif variance > 0:
                        sd = math.sqrt(variance)
                        result[b, r, k, c] = math.fsum(((v - mean) / sd) ** order for v in values) / len(values)
    return result


def draw(seed: int, shape: tuple[int, ...] = (2, 3, 6, 7)) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def draw_masks(seed: int, num_classes: int = 5) -> Tensor:
    """Overlapping regions of many sizes; region 3 has one cell, region 4 none."""
    masks = (draw(seed, (2, num_classes, 6, 7)) > torch.linspace(-1, 1, num_classes).view(-1, 1, 1)).float()
    masks[:, 3:] = 0
    masks[:, 3, 2, 2] = 1
    return masks


def test_by_hand() -> None:
    features = torch.tensor([[[[1.0, 3.0, 8.0, 100.0]]]])
    masks = torch.tensor([[[[1.0, 1.0, 1.0, 0.0]], [[0.0, 1.0, 0.0, 0.0]], [[0.0, 0.0, 0.0, 0.0]]]])
    # mean 4; deviations -3, -1, 4: squares sum to 26, cubes to 36.
    moments = region_moments(features, masks, (1, 2, 3))
    assert moments.shape == (1, 3, 3, 1)
    variance = 26 / 3
    assert moments[0, :, 0, 0].tolist() == pytest.approx([4, variance, 12 / variance**1.5])
    assert moments[0, :, 1, 0].tolist() == [3, 0, 0]  # one cell: a mean, no spread
    assert moments[0, :, 2, 0].tolist() == [0, 0, 0]  # no cell
    presence = region_presence(masks, (1, 2, 3))
    assert presence[0].tolist() == [[True, True, False], [True, False, False], [True, False, False]]


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_the_oracle(scale: float, dtype: torch.dtype) -> None:
    features = (scale * (draw(0) + 0.5)).to(dtype)
    masks = draw_masks(1)
    moments = region_moments(features, masks, ORDERS)
    assert moments.dtype == dtype
    expected = oracle(features, masks, ORDERS)
    unit = torch.tensor([scale, scale**2, 1, 1, 1, 1], dtype=torch.float64).view(1, -1, 1, 1)
    assert_close(moments.double() / unit, expected / unit, rtol=1e-5, atol=1e-6)


def test_any_subset_in_any_order() -> None:
    features, masks = draw(0), draw_masks(1)
    every = region_moments(features, masks, ORDERS)
    for orders in [(1,), (2,), (6,), (3, 1), (5, 2, 4), (6, 5, 4, 3, 2, 1)]:
        picked = [ORDERS.index(order) for order in orders]
        assert_close(region_moments(features, masks, orders), every[:, picked])


@pytest.mark.parametrize("value", [0.0, 1.0, 1e4, 1e-6, 12345.678])
def test_constant_features_have_no_spread(value: float) -> None:
    features = torch.full((2, 3, 6, 7), value, requires_grad=True)
    moments = region_moments(features, draw_masks(1), ORDERS)
    assert_close(moments[:, 0, :4], torch.full((2, 4, 3), value))
    assert torch.equal(moments[:, 1:], torch.zeros_like(moments[:, 1:]))
    moments.sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_regions_constant_at_different_values_have_no_spread() -> None:
    """The value subtracted before summing is then far from each region's mean; rounding must not look like variance."""
    features = torch.tensor([0.1, 1e4, -333.3, 1e4]).view(1, 1, 1, 4).repeat(1, 2, 6, 1)
    masks = torch.zeros(1, 2, 6, 4)
    masks[:, 0, :, 0] = 1
    masks[:, 1, :, 1] = masks[:, 1, :, 3] = 1
    assert torch.equal(region_moments(features, masks, ORDERS)[:, 1:], torch.zeros(1, 5, 2, 2))


def test_odd_orders_of_two_cells_are_exactly_zero() -> None:
    """The cosine would turn a rounding error into a random direction."""
    features = draw(0).requires_grad_()
    masks = torch.zeros(2, 1, 6, 7)
    masks[:, 0, 2, 3:5] = 1
    moments = region_moments(features, masks, ORDERS)
    assert torch.equal(moments[:, [2, 4]], torch.zeros(2, 2, 1, 3, dtype=torch.float64))
    assert_close(moments[:, [3, 5]], torch.ones(2, 2, 1, 3, dtype=torch.float64))


def test_gradcheck() -> None:
    masks = draw_masks(1)
    features = draw(2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: region_moments(x, masks, ORDERS), (features,))


def test_region_order_and_image_order_are_irrelevant() -> None:
    features, masks = draw(0), draw_masks(1)
    moments = region_moments(features, masks, ORDERS)
    assert_close(region_moments(features, masks.flip(1), ORDERS), moments.flip(2))
    assert_close(region_moments(features.flip(0), masks.flip(0), ORDERS), moments.flip(0))


def test_low_precision_features_give_float32_of_their_exact_values() -> None:
    features, masks = draw(0).bfloat16(), draw_masks(1)
    moments = region_moments(features, masks, ORDERS)
    assert moments.dtype == torch.float32
    assert_close(moments.double(), oracle(features, masks, ORDERS), rtol=1e-5, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(region_moments(features, masks, ORDERS), moments)


@pytest.mark.parametrize("orders", [(), (0,), (7,), (1, 1), (-1, 2)])
def test_impossible_orders_are_named(orders: tuple[int, ...]) -> None:
    with pytest.raises(SettingError, match=r"orders: must be distinct and within 1\.\.6"):
        region_moments(draw(0), draw_masks(1), orders)
    with pytest.raises(SettingError, match="orders"):
        region_presence(draw_masks(1), orders)


def test_mismatched_sizes_are_named() -> None:
    with pytest.raises(SettingError, match=r"features \(2, 3, 5, 7\), masks \(2, 5, 6, 7\)"):
        region_moments(draw(0, (2, 3, 5, 7)), draw_masks(1), (1,))


def oracle_of_variants(features: Tensor, masks: Tensor, order: int, variant: str) -> Tensor:
    """The formulas as protocols 1.2 restates them, one image, region and channel at a time."""
    batch, channels = features.shape[:2]
    result = torch.zeros(batch, masks.shape[1], channels, dtype=torch.float64)
    for b in range(batch):
        for k in range(masks.shape[1]):
            weights = masks[b, k].flatten().double().tolist()
            if not any(weights):
                continue
            for c in range(channels):
                values = features[b, c].flatten().double().tolist()
                if variant == "variance":
                    total = sum(weights)
                    mean = sum(w * v for w, v in zip(weights, values, strict=True)) / total
                    spread = sum(w * (v - mean) ** 2 for w, v in zip(weights, values, strict=True)) / total
                    rest = sum(w * (v - mean) ** order for w, v in zip(weights, values, strict=True)) / total
                    eps = 0.0
                else:
                    norm = len(values) if variant == "sketch" else sum(w > 0 for w in weights)
                    masked = [w * v for w, v in zip(weights, values, strict=True)]
                    mean = sum(masked) / norm
                    spread = sum((v - mean) ** 2 for v in masked) / norm
                    rest = sum((v - mean) ** order for v in masked) / norm
                    eps = 1e-10 if variant == "sketch" else 0.0
                if order == 1:
                    result[b, k, c] = mean
                elif order == 2:
                    result[b, k, c] = spread
                elif spread > 1e-20:
                    result[b, k, c] = rest / (spread + eps) ** order
    return result


@pytest.mark.parametrize("variant", ["variance", "literal", "sketch"])
@pytest.mark.parametrize("soft", [False, True])
def test_variants_against_their_formulas(variant: Variant, soft: bool) -> None:
    features, masks = draw(0) + 0.5, draw_masks(1).double()
    if soft:
        masks = masks * draw(5, masks.shape).abs().clamp(0.05, 1)
    moments = region_moments(features, masks, ORDERS, variant=variant)
    for index, order in enumerate(ORDERS):
        assert_close(moments[:, index], oracle_of_variants(features, masks, order, variant), rtol=1e-9, atol=1e-9)
    assert torch.autograd.gradcheck(
        lambda x: region_moments(x, masks, (1, 2, 3), variant=variant), (features.requires_grad_(),)
    )


def test_literal_by_hand() -> None:
    """Cells 1, 3 inside and one outside: mean 2; (1 - 2)^2 + (3 - 2)^2 + (0 - 2)^2 = 6, halved is 3."""
    features = torch.tensor([[[[1.0, 3.0, 50.0]]]])
    masks = torch.tensor([[[[1.0, 1.0, 0.0]]]])
    literal = region_moments(features, masks, (1, 2, 3), variant="literal").flatten().tolist()
    assert literal == pytest.approx([2, 3, (-1 + 1 - 8) / 2 / 27])
    sketch = region_moments(features, masks, (1,), variant="sketch").item()
    assert sketch == pytest.approx(4 / 3)


def test_soft_weights_of_the_textbook() -> None:
    """Weights 1/2 and 1 on values 3 and 6: mean 5, variance (1/2 * 4 + 1) / 1.5 = 2, cubes (-4 + 1) / 1.5 / 2^1.5."""
    features = torch.tensor([[[[3.0, 6.0]]]])
    masks = torch.tensor([[[[0.5, 1.0]]]])
    moments = region_moments(features, masks, (1, 2, 3)).flatten().tolist()
    assert moments == pytest.approx([5, 2, -2 / 2**1.5])


def test_unknown_variant_is_named() -> None:
    with pytest.raises(SettingError, match="variant: must be one of textbook, variance, literal, sketch"):
        region_moments(draw(0), draw_masks(1), (1,), variant="paper")  # type: ignore[arg-type]
