"""Attention maps and their loss: values by hand, an oracle of explicit loops, properties."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from intra_search.distill.attention import map_of_form, transfer_map
from intra_search.distill.functional import attention_loss, attention_map
from intra_search.errors import SettingError


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def oracle_map(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Sum of squares, bilinear at half-pixel centres, softmax; with Python floats."""
    batch, channels, height, width = features.shape
    result = torch.zeros(batch, *size, dtype=torch.float64)
    for b in range(batch):
        energy = [
            [sum(features[b, c, y, x].item() ** 2 for c in range(channels)) for x in range(width)]
            for y in range(height)
        ]
        values = [
            [
                _bilinear(energy, (i + 0.5) * height / size[0] - 0.5, (j + 0.5) * width / size[1] - 0.5)
                for j in range(size[1])
            ]
            for i in range(size[0])
        ]
        total = sum(math.exp(v) for row in values for v in row)
        result[b] = torch.tensor([[math.exp(v) / total for v in row] for row in values])
    return result


def _bilinear(grid: list[list[float]], y: float, x: float) -> float:
    y, x = max(y, 0.0), max(x, 0.0)
    y0, x0 = min(int(y), len(grid) - 1), min(int(x), len(grid[0]) - 1)
    y1, x1 = min(y0 + 1, len(grid) - 1), min(x0 + 1, len(grid[0]) - 1)
    top = grid[y0][x0] * (1 - x + x0) + grid[y0][x1] * (x - x0)
    bottom = grid[y1][x0] * (1 - x + x0) + grid[y1][x1] * (x - x0)
    return top * (1 - y + y0) + bottom * (y - y0)


def test_map_by_hand() -> None:
    # Energies 0 and log(3): softmax 1/4 and 3/4.
    features = torch.tensor([[[[0.0, math.sqrt(math.log(3) / 2)]], [[0.0, -math.sqrt(math.log(3) / 2)]]]])
    assert_close(attention_map(features), torch.tensor([[[0.25, 0.75]]]))


def test_loss_by_hand() -> None:
    student = torch.tensor([[[0.5, 0.5]], [[1.0, 0.0]]])
    teacher = torch.tensor([[[0.25, 0.75]], [[1.0, 0.0]]])
    assert attention_loss(student, teacher).item() == pytest.approx((2 * 0.25**2 + 0) / 2)


@pytest.mark.parametrize("size", [(4, 6), (2, 3), (8, 12), (3, 5)])
def test_map_against_the_oracle(size: tuple[int, int]) -> None:
    features = draw(0, 2, 3, 4, 6)
    assert_close(attention_map(features, size), oracle_map(features, size))


def test_properties() -> None:
    features = draw(0, 2, 5, 4, 6)
    student = attention_map(features, (2, 3))
    teacher = attention_map(draw(1, 2, 7, 2, 3))
    assert_close(student.sum(dim=(1, 2)), torch.ones(2, dtype=torch.float64))
    assert attention_loss(student, student) == 0
    loss = attention_loss(student, teacher)
    assert_close(attention_loss(student.repeat(3, 1, 1), teacher.repeat(3, 1, 1)), loss)
    assert_close(attention_map(features.flip(1), (2, 3)), student)  # channel order is irrelevant


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 1e4])
def test_extremes_stay_finite(scale: float) -> None:
    features = (scale * draw(0, 1, 3, 4, 6)).float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = attention_loss(attention_map(features, (2, 3)), attention_map(draw(1, 1, 7, 2, 3)).float())
    loss.backward()
    assert loss.isfinite()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_gradcheck() -> None:
    teacher = attention_map(draw(1, 2, 7, 3, 2)).requires_grad_()
    features = draw(0, 2, 3, 4, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: attention_loss(attention_map(x, (3, 2)), teacher.detach()), (features,))
    attention_loss(attention_map(features, (3, 2)), teacher).backward()
    assert teacher.grad is None


def test_mismatched_sizes_are_named() -> None:
    with pytest.raises(SettingError, match="attention loss: maps must have one shape"):
        attention_loss(torch.zeros(1, 2, 3), torch.zeros(1, 3, 2))


def test_standardised_map_by_hand() -> None:
    """Sizes 1, 3 have mean 2 and deviation 1: the softmax of 3 tanh(1/3) (-1, 1) / T, whatever their scale."""
    sizes = torch.tensor([1.0, 3.0])
    for scale, offset in ((1.0, 0.0), (1e-12, 0.0), (1e12, 0.0), (1.0, 5.0)):
        features = (scale * (sizes + offset)).view(1, 1, 1, 2).expand(1, 7, 1, 2)
        for temperature in (1.0, 0.5):
            found = map_of_form(features, "standardised", temperature)
            expected = torch.softmax(torch.tensor([-0.96454, 0.96454]) / temperature, dim=0).view(1, 1, 2)
            assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.37, 1e-20, 1e18])
def test_a_constant_feature_has_an_even_map_and_no_gradient(value: float) -> None:
    features = torch.full((1, 3, 5, 7), value, requires_grad=True)
    found = map_of_form(features, "standardised")
    assert_close(found, torch.full((1, 5, 7), 1 / 35))
    found.square().sum().backward()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


@pytest.mark.parametrize("channels", [8, 64, 512, 2048])
@pytest.mark.parametrize("factor", [0.1, 1.0, 10.0])
def test_standardised_maps_of_activations_are_not_one_hot_and_keep_their_shape(channels: int, factor: float) -> None:
    """Where the sum of squares puts most on one cell of 520, at 512 channels and more already without a factor."""
    generator = torch.Generator().manual_seed(channels)
    weights = torch.randn(channels, 32, generator=generator) * (2 / 32) ** 0.5
    features = torch.relu(torch.einsum("cd,dhw->chw", weights, torch.randn(32, 20, 26, generator=generator)))[None]
    found = map_of_form(factor * features, "standardised")
    assert found.max() < 0.2
    entropy = -(found * found.log()).sum()
    assert entropy > 0.8 * math.log(found.numel())
    assert_close(found, map_of_form(features, "standardised"), rtol=1e-4, atol=1e-7)
    if channels >= 512 and factor >= 1:
        assert map_of_form(factor * features, "sum").max() > 0.5


def test_a_map_of_l2_is_that_of_attention_transfer() -> None:
    features = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    assert_close(map_of_form(features, "l2", size=(2, 3)), transfer_map(features, (2, 3)))
    assert_close(map_of_form(features, "l2").square().sum(dim=(1, 2)), torch.ones(2))
    assert_close(map_of_form(features, "sum"), attention_map(features))
