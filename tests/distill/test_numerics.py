"""The range in which moments are accurate, and that the ways of summing agree.

Stated range, for hard masks on maps where fragments pay (`power_sums`), float32: within 1e-4 of a float64 oracle
(relative to the larger of 1 and the moment, for the dimensionless orders) up to

    order      1       2 to 6
    |mean|/sd  any     1e4

where the mean is each region's own, and regions may differ. Weights and ragged masks go through matrix products in
float64 around the channel's mean: there the ratio may be 1e4 for orders up to 3, and 1e2 for orders up to 6. So do
orders 1 and 2 of small maps, alone: there the ratio may be 1e4, too; and everything on a GPU.
"""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from intra_search.distill import power_sums
from intra_search.distill.fragments import fragments_of
from intra_search.distill.functional import region_masks, region_moments
from intra_search.distill.power_sums import (
    VALUES_OF_PRODUCTS,
    _moments_by_products,
    _moments_of_fragments,
    central_moments,
)

ORDERS = (1, 2, 3, 4, 5, 6)
IMAGES, CLASSES, CHANNELS, HEIGHT, WIDTH = 2, 5, 3, 40, 64


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def coherent_masks() -> Tensor:
    """Vertical strips of classes, grown so that neighbours overlap; class 4 is absent."""
    labels = (torch.arange(WIDTH) // 16 % 4).repeat(IMAGES, HEIGHT, 1)
    labels[0, :5] = 255
    return region_masks(labels, CLASSES, 5, (HEIGHT, WIDTH))


def oracle(features: Tensor, masks: Tensor) -> Tensor:
    """Float64, region by region."""
    x, moments = features.double(), []
    for b in range(IMAGES):
        for k in range(CLASSES):
            inside = x[b][:, masks[b, k].bool()]
            if inside.shape[1] == 0:
                moments.append(torch.zeros(len(ORDERS), CHANNELS, dtype=torch.float64))
                continue
            centred = inside - inside.mean(dim=1, keepdim=True)
            sd = centred.square().mean(dim=1).sqrt()
            of_order = [inside.mean(dim=1), sd.square()]
            of_order += [((centred / sd.unsqueeze(1)) ** r).mean(dim=1) for r in ORDERS[2:]]
            moments.append(torch.stack(of_order))
    return torch.stack(moments).view(IMAGES, CLASSES, len(ORDERS), CHANNELS).transpose(1, 2)


def gap(found: Tensor, expected: Tensor, order: int, scale: float) -> float:
    """Largest error relative to the moment, or to the unit of its order (1 from order 3 on) where that is larger."""
    index = ORDERS.index(order)
    difference = (found[:, index].double() - expected[:, index]).abs()
    size = expected[:, index].abs().clamp_min(scale**order if order < 3 else 1.0)
    return (difference / size).max().item()


@pytest.mark.parametrize("ratio", [0.0, 1e2, 1e3, 1e4])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_domain_of_hard_masks(ratio: float, scale: float) -> None:
    """Means are up to 2.5 `ratio` standard deviations from 0, and differ from region to region."""
    masks = coherent_masks()
    steps = (torch.arange(WIDTH) // 16 % 4 - 1.5).view(1, 1, 1, -1)
    noise = draw(0, IMAGES, CHANNELS, HEIGHT, WIDTH)
    # Regions overlap where they were grown. No step lies there: a jump inside a region would add to its spread.
    overlap = (masks.sum(dim=1, keepdim=True) > 1).double()
    features = (scale * (noise + ratio * (1 + steps) * (1 - overlap))).float()
    masks = masks * (1 - overlap).float()
    expected = oracle(features, masks)
    found = region_moments(features, masks, ORDERS)
    for order in ORDERS:
        assert gap(found, expected, order, scale) < 1e-4, order


@pytest.mark.parametrize("ratio", [0.0, 1e2, 1e3, 1e4])
def test_domain_of_hard_masks_that_overlap(ratio: float) -> None:
    """All regions have the same mean, `ratio` standard deviations from 0."""
    features, masks = (draw(0, IMAGES, CHANNELS, HEIGHT, WIDTH) + ratio).float(), coherent_masks()
    expected, found = oracle(features, masks), region_moments(features, masks, ORDERS)
    for order in ORDERS:
        assert gap(found, expected, order, 1.0) < 1e-4, order


@pytest.mark.parametrize("orders", [(1,), (2,), (1, 2), (2, 1)])
@pytest.mark.parametrize("ratio", [0.0, 1e2, 1e4])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_domain_of_orders_1_and_2_alone(orders: tuple[int, ...], ratio: float, scale: float) -> None:
    """A small map, so these orders go through products although fragments would pay; regions have different means."""
    masks = coherent_masks()
    overlap = (masks.sum(dim=1, keepdim=True) > 1).double()
    masks = masks * (1 - overlap).float()
    steps = (torch.arange(WIDTH) // 16 % 4 - 1.5).view(1, 1, 1, -1)
    noise = draw(0, IMAGES, CHANNELS, HEIGHT, WIDTH)
    features = (scale * (noise + ratio * (1 + steps) * (1 - overlap))).float()
    expected, found = oracle(features, masks), region_moments(features, masks, orders)
    for index, order in enumerate(orders):
        target = expected[:, order - 1]
        size = target.abs().clamp_min(scale**order)
        assert ((found[:, index].double() - target).abs() / size).max() < 1e-4, order


def test_small_and_large_maps_have_the_same_moments() -> None:
    """The same map once alone, by products, and once beside so many images that fragments are used."""
    masks = coherent_masks()
    features = (draw(0, IMAGES, CHANNELS, HEIGHT, WIDTH) + 0.3).float()
    many = VALUES_OF_PRODUCTS // features[0].numel() + 1
    small, large = features.clone().requires_grad_(), features[:1].repeat(many, 1, 1, 1).requires_grad_()
    assert small.numel() <= VALUES_OF_PRODUCTS < large.numel()
    alone = region_moments(small, masks, (1, 2))
    among = region_moments(large, masks[:1].repeat(many, 1, 1, 1), (1, 2))
    assert_close(among[0], alone[0], rtol=1e-5, atol=1e-6)
    (own,) = torch.autograd.grad(alone[0].square().sum(), small)
    (other,) = torch.autograd.grad(among[0].square().sum(), large)
    assert_close(other[0], own[0], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("orders", [(1,), (1, 2), (1, 2, 3)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_products_have_the_right_gradient_in_the_features_own_layout(
    orders: tuple[int, ...], layout: torch.memory_format
) -> None:
    masks = (draw(1, 2, 3, 4, 5) > 0).double() * draw(2, 2, 3, 4, 5).abs().clamp(0.05, 1)
    features = draw(0, 2, 4, 4, 5).contiguous(memory_format=layout).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: region_moments(x, masks, orders), (features,))
    (gradient,) = torch.autograd.grad(region_moments(features, masks, orders).square().sum(), features)
    assert gradient.is_contiguous(memory_format=layout)


def test_products_do_not_depend_on_how_many_images_are_taken_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = (draw(1, 3, 4, 5, 6) > 0).float() * 0.5
    features = draw(0, 3, 7, 5, 6).float().contiguous(memory_format=torch.channels_last).requires_grad_()

    def moments_and_gradient() -> tuple[Tensor, Tensor]:
        moments = region_moments(features, masks, (1, 2, 3))
        return moments, torch.autograd.grad(moments.square().sum(), features)[0]

    at_once = moments_and_gradient()
    monkeypatch.setattr(power_sums, "POWERS_PER_CHUNK", 3 * features[0].numel())
    assert len(power_sums._image_chunks(features, 3)) == 3
    assert_close(moments_and_gradient(), at_once, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("ratio", "highest"), [(1e2, 6), (1e4, 3)])
def test_domain_of_products(ratio: float, highest: int) -> None:
    """Masks of noise, for which fragments save nothing; every second region is far from the channel's mean."""
    masks = (draw(1, IMAGES, CLASSES, HEIGHT, WIDTH) > 0.5).float()
    masks[:, 4] = 0
    features = (draw(0, IMAGES, CHANNELS, HEIGHT, WIDTH) + ratio).float()
    features[:, :, ::2] -= 2 * ratio
    masks[:, ::2, ::2] = 0
    masks[:, 1::2, 1::2] = 0
    expected, found = oracle(features, masks), region_moments(features, masks, ORDERS)
    for order in ORDERS[:highest]:
        assert gap(found, expected, order, 1.0) < 1e-4, order


def test_both_ways_of_summing_agree_in_value_and_gradient() -> None:
    masks = coherent_masks()
    features = (draw(0, IMAGES, CHANNELS, HEIGHT, WIDTH) + 0.3).requires_grad_()
    results = []
    for moments in (
        _moments_of_fragments(features, fragments_of(masks.flatten(2)), CLASSES, 6),
        _moments_by_products(features, masks.flatten(2), 6),
    ):
        central = torch.stack([moment * moments.unit**r for r, moment in enumerate(moments.central, start=2)])
        (gradient,) = torch.autograd.grad((central.square().sum() + moments.mean.square().sum()), features)
        results.append((moments.mean, central, moments.varies, moments.symmetric, gradient))
    for ours, theirs in zip(*results, strict=True):
        assert_close(ours, theirs)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradcheck_of_fragments(layout: torch.memory_format) -> None:
    labels = (torch.arange(16) // 8).repeat(2, 16, 1)
    masks = region_masks(labels, 2, 3, (16, 16))
    fragments = fragments_of(masks.flatten(2))
    assert len(fragments.pair_fragment) * 8 <= 2 * 16 * 16  # so few that the sums over fragments are used
    features = draw(0, 2, 2, 16, 16).contiguous(memory_format=layout).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: region_moments(x, masks, ORDERS), (features,), fast_mode=True)


def test_layouts_agree_and_keep_their_own() -> None:
    masks, gradients = coherent_masks(), []
    for layout in (torch.contiguous_format, torch.channels_last):
        features = draw(0, IMAGES, CHANNELS, HEIGHT, WIDTH).contiguous(memory_format=layout).requires_grad_()
        (gradient,) = torch.autograd.grad(region_moments(features, masks, ORDERS).square().sum(), features)
        assert gradient.is_contiguous(memory_format=layout)
        gradients.append(gradient)
    assert_close(*gradients)


def test_fragments_partition_the_cells_by_their_regions() -> None:
    """Cells of a fragment lie in the same regions of the same image; the pairs say which."""
    masks = (draw(1, IMAGES, 60, 9, 11) > 1.2).float().flatten(2)
    fragments = fragments_of(masks)
    assert fragments.num_cells.sum() == IMAGES * 9 * 11
    assert torch.equal(torch.bincount(fragments.fragment_of_cell).float(), fragments.num_cells)
    rebuilt = torch.zeros(len(fragments.num_cells), IMAGES * 60)
    rebuilt[fragments.pair_fragment, fragments.pair_region] = 1
    per_cell = rebuilt[fragments.fragment_of_cell].view(IMAGES, -1, IMAGES, 60)
    for image in range(IMAGES):
        assert torch.equal(per_cell[image, :, image].t(), masks[image])


def test_soft_masks_go_through_products() -> None:
    """Weights that are nearly 1 everywhere must not be treated as hard masks."""
    masks = coherent_masks()
    masks[0, 0, 0, 0] = masks[0, 0, 20, 3] * 0.999
    features = draw(0, IMAGES, CHANNELS, HEIGHT, WIDTH)
    moments = central_moments(features, masks, 2)
    weights = masks[0, 0].double()
    expected = (features[0] * weights).sum(dim=(1, 2)) / weights.sum()
    assert_close(moments.mean[0, 0], expected)
