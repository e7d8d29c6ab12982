"""The existence loss: a hand value, sums that add up over workers, gradients."""

import math

import pytest
import torch

from intra_search.distill.existence import existence_loss


def test_hand_value() -> None:
    """Logit 0 costs log 2 either way; logit log 3 means p = 3/4: -log(3/4) if present, -log(1/4) if not."""
    logits = torch.tensor([[0.0, 0.0], [math.log(3), math.log(3)]], dtype=torch.float64)
    flags = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    sums, counts = existence_loss(logits, flags)
    assert counts.tolist() == [4]
    assert sums.item() == pytest.approx(2 * math.log(2) + math.log(4 / 3) + math.log(4), rel=1e-12)


def test_shares_add_up() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    flags = (torch.rand(7, 4, generator=generator) < 0.5).float()
    whole = existence_loss(logits, flags)
    first, second = (existence_loss(logits[rows], flags[rows]) for rows in (slice(0, 2), slice(2, 7)))
    torch.testing.assert_close(first.sums + second.sums, whole.sums)
    assert (first.counts + second.counts).item() == whole.counts.item() == 28


def test_gradient_is_probability_minus_flag_and_stays_finite() -> None:
    logits = torch.tensor([[-1000.0, 2.0, 1000.0]], requires_grad=True)
    flags = torch.tensor([[1.0, 1.0, 0.0]])
    existence_loss(logits, flags).sums.sum().backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.sigmoid(logits.detach()) - flags)


def test_half_precision_is_summed_in_float32() -> None:
    assert existence_loss(torch.zeros(1, 4, dtype=torch.bfloat16), torch.zeros(1, 4)).sums.dtype == torch.float32


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="must match"):
        existence_loss(torch.zeros(2, 4), torch.zeros(2, 3))
