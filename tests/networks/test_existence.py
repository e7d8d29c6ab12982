"""The existence branch on every network: shapes, logits without bounds, gradients, and the authors' sizes."""

import pytest
import torch

from intra_search.networks.build import NETWORKS, build_network
from intra_search.networks.existence import ExistenceBranch, LaneNetwork

SMALL = {"erfnet": {"width": 0.25, "blocks": (1, 1)}, "enet": {"width": 0.25, "blocks": (1, 1)}}


@pytest.mark.parametrize("name", ["erfnet", "enet", "resnet18", "pspnet_resnet18"])
def test_every_network_takes_the_branch(name: str) -> None:
    torch.manual_seed(0)
    plain = build_network(name, 5, **SMALL.get(name, {})).eval()
    lanes = LaneNetwork(plain, 4, (40, 64)).eval()
    images = torch.randn(2, 3, 40, 64)
    output = lanes(images)
    assert output.features["existence"].shape == (2, 4)
    alone = plain(images)
    torch.testing.assert_close(output.logits, alone.logits)
    assert list(output.features) == [*alone.features, "existence"]
    assert lanes.feature_channels == plain.feature_channels
    assert name in NETWORKS


def test_the_authors_sizes() -> None:
    """208 x 976 at 1/8 is 26 x 122; pooled, 13 x 61 cells of 5 maps are the 3965 inputs of their hidden layer."""
    branch = ExistenceBranch(128, 4, (26, 122))
    first = branch.lanes[0]
    assert isinstance(first, torch.nn.Linear)
    assert (first.in_features, first.out_features) == (3965, 128)
    assert branch.eval()(torch.zeros(1, 128, 26, 122)).shape == (1, 4)


def test_odd_features_lose_their_last_row_and_column() -> None:
    assert ExistenceBranch(8, 2, (5, 9)).eval()(torch.randn(3, 8, 5, 9)).shape == (3, 2)


def test_the_output_is_logits() -> None:
    """They are not bounded to 0..1 and differ between lanes: scaling the last weights scales them."""
    torch.manual_seed(1)
    branch = ExistenceBranch(8, 4, (4, 6)).eval()
    features = torch.randn(5, 8, 4, 6)
    last = branch.lanes[2]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.bias.zero_()
        one = branch(features)
        last.weight.mul_(1000)
        many = branch(features)
    torch.testing.assert_close(many, one * 1000, rtol=1e-4, atol=1e-4)
    assert many.min() < 0 or many.max() > 1


def test_its_gradient_reaches_the_encoder_and_not_the_decoder() -> None:
    network = LaneNetwork(build_network("erfnet", 5, width=0.25, blocks=(1, 1)), 4, (32, 64))
    network(torch.randn(2, 3, 32, 64)).features["existence"].sum().backward()
    touched = {name.split(".")[1] for name, weight in network.named_parameters() if weight.grad is not None}
    assert touched >= {"block1", "block2", "block3", "maps", "lanes"}
    assert "decoder" not in touched
