"""Contract of every network in the table, and facts about single ones."""

import copy
from typing import cast

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torchvision.models import resnet18, resnet50

from intra_search.errors import SettingError
from intra_search.networks import NetworkOutput, build_network
from intra_search.networks.backbone import DilatedResNet
from intra_search.networks.build import NETWORKS, network_options
from intra_search.networks.shape import scaled_channels

STUDENTS = ("erfnet", "enet", "resnet18")
ENCODER_AND_DECODER = {"block1": 2, "block2": 4, "block3": 8, "decoder": 4, "penultimate": 2}
STRIDES = {"erfnet": ENCODER_AND_DECODER, "enet": ENCODER_AND_DECODER}
RESNET_STRIDES = {"block1": 2, "block2": 4, "block3": 8, "block4": 8, "block5": 8, "decoder": 8, "penultimate": 8}


def cheap_options(name: str) -> dict[str, object]:
    options: dict[str, object] = {"width": 0.25}
    if "head_channels" in network_options(name):
        options["head_channels"] = 8
    if "blocks" in network_options(name):
        options["blocks"] = (1, 3)
    return options


def small(name: str, num_classes: int = 5) -> nn.Module:
    """The cheapest form of a network; deterministic."""
    torch.manual_seed(0)
    return build_network(name, num_classes, **cheap_options(name))


def channels_of(network: nn.Module) -> dict[str, int]:
    return cast(dict[str, int], network.feature_channels)


def dilation(block: nn.Module, name: str) -> int:
    convolution = block.get_submodule(name)
    assert isinstance(convolution, nn.Conv2d)
    return convolution.dilation[0]


def images(batch: int = 2, height: int = 32, width: int = 48) -> torch.Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


# PSPNet-101 differs from 50 in a block count only and has a check of its own; it would take half the time of all.
every_network = pytest.mark.parametrize("name", [name for name in NETWORKS if name != "pspnet_resnet101"])


@every_network
def test_forward_and_backward_give_declared_features_and_finite_gradients(name: str) -> None:
    network = small(name, num_classes=7).train()
    output = network(images())
    assert isinstance(output, NetworkOutput)
    assert output.logits.shape == (2, 7, 32, 48)
    assert {key: value.shape[1] for key, value in output.features.items()} == channels_of(network)
    strides = STRIDES.get(name, RESNET_STRIDES)
    assert {key: tuple(value.shape[2:]) for key, value in output.features.items()} == {
        key: (32 // stride, 48 // stride) for key, stride in strides.items()
    }
    output.logits.square().mean().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@every_network
def test_the_classifier_reads_the_penultimate_feature(name: str) -> None:
    """The logits change with nothing else: the last layer of the network, applied to it, gives them."""
    network = small(name).eval()
    output = network(images())
    last = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)][-1]
    logits = last(output.features["penultimate"])
    if logits.shape != output.logits.shape:
        logits = nn.functional.interpolate(logits, output.logits.shape[2:], mode="bilinear", align_corners=False)
    assert_close(logits, output.logits)


@every_network
def test_state_round_trip_and_batch_of_one(name: str) -> None:
    network = small(name).eval()
    torch.manual_seed(99)
    twin = build_network(name, 5, **cheap_options(name)).eval()
    assert not torch.equal(twin(images()).logits, network(images()).logits)
    twin.load_state_dict(network.state_dict(), strict=True)
    with torch.no_grad():
        logits = network(images()).logits
        assert torch.equal(twin(images()).logits, logits)
        assert_close(network(images()[:1]).logits, logits[:1], atol=1e-4, rtol=1e-4)


@every_network
def test_float64_agrees_with_float32(name: str) -> None:
    network = small(name).eval()
    with torch.no_grad():
        single = network(images()).logits
        double = network.double()(images().double()).logits
    assert double.dtype == torch.float64
    assert_close(single.double(), double, atol=1e-3, rtol=1e-3)


@every_network
def test_bfloat16_autocast_is_finite_and_near(name: str) -> None:
    network = small(name).eval()
    with torch.no_grad():
        exact = network(images()).logits
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = network(images())
    assert output.logits.isfinite().all()
    gap = (output.logits.float() - exact).norm() / exact.norm()
    # ENet's unpooling moves a whole value to a neighbour when rounding makes two pooled values equal.
    assert gap < (0.5 if name == "enet" else 0.1)


@every_network
def test_channels_last_changes_nothing(name: str) -> None:
    network = small(name).eval()
    with torch.no_grad():
        plain = network(images()).logits
        moved = network.to(memory_format=torch.channels_last)
        last = moved(images().contiguous(memory_format=torch.channels_last)).logits
    assert_close(last, plain, atol=1e-4, rtol=1e-4)


@every_network
def test_same_seed_same_weights(name: str) -> None:
    first, second = small(name).state_dict(), small(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", ["erfnet", "pspnet_resnet18"])
@pytest.mark.parametrize(("height", "width", "nearest"), [(35, 48, "32x48"), (32, 45, "32x48"), (1, 1, "8x8")])
def test_invalid_size_names_the_nearest(name: str, height: int, width: int, nearest: str) -> None:
    with pytest.raises(SettingError, match=f"found {height}x{width}; the nearest valid size is {nearest}"):
        small(name)(images(1, height, width))


@pytest.mark.parametrize(
    ("name", "num_classes", "count"),
    [
        ("erfnet", 5, 2_063_281),  # the published count, without the encoder-only head
        # 2 * 2 * 16 weights and one bias per further class
        ("erfnet", 37, 2_063_281 + 32 * 65),
        ("enet", 5, 359_404),
    ],
)
def test_parameter_counts(name: str, num_classes: int, count: int) -> None:
    blocks = {"erfnet": (5, 8), "enet": (4, 16)}[name]
    network = build_network(name, num_classes, blocks=blocks)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.parametrize("width", [0.0625, 0.5, 1.5])
def test_width_scales_channels(name: str, width: int) -> None:
    network = build_network(name, 3, width=width)
    published = channels_of(build_network(name, 3))
    for layer, channels in channels_of(network).items():
        assert channels % 4 == 0
        # At tiny widths the rule "strictly growing" may lift a stage by a few channels.
        assert abs(channels - width * published[layer]) <= 12
    assert network.eval()(images()).logits.shape == (2, 3, 32, 48)


def test_scaled_channels_by_hand() -> None:
    assert scaled_channels((16, 64, 128), 1) == (16, 64, 128)
    assert scaled_channels((16, 64, 128), 0.5) == (8, 32, 64)
    assert scaled_channels((16, 64, 128), 0.0625) == (4, 8, 12)  # rounding alone would give 4, 4, 8


@pytest.mark.parametrize("name", ["erfnet", "enet"])
def test_blocks_add_depth(name: str) -> None:
    def count(blocks: tuple[int, int]) -> int:
        return sum(parameter.numel() for parameter in build_network(name, 5, blocks=blocks).parameters())

    assert count((0, 0)) < count((1, 0)) < count((1, 9))


def test_dilations_of_erfnet_cycle() -> None:
    _, *blocks = build_network("erfnet", 5, blocks=(1, 6)).get_submodule("block3").children()
    assert [dilation(block, "column2") for block in blocks] == [2, 4, 8, 16, 2, 4]


@pytest.mark.parametrize(("depth", "reference"), [(18, resnet18), (50, resnet50)])
def test_backbone_takes_torchvision_weights_by_name(depth: int, reference: type) -> None:
    torch.manual_seed(0)
    keep_size = {"replace_stride_with_dilation": [False, True, True]} if depth == 50 else {}
    theirs = reference(**keep_size).eval()
    ours = DilatedResNet(depth).eval()
    missing = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert not missing.missing_keys
    assert set(missing.unexpected_keys) == {"fc.weight", "fc.bias"}
    x = images()
    with torch.no_grad():
        y = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
        y = theirs.layer2(theirs.layer1(y))
        if depth == 50:  # torchvision dilates Bottlenecks only; for 18 the undilated half is compared
            y = theirs.layer4(theirs.layer3(y))
        assert_close(ours(x)["block5" if depth == 50 else "block3"], y)


def test_teacher_101_is_built_and_dilated() -> None:
    with torch.device("meta"):
        network = build_network("pspnet_resnet101", 37).eval()
    blocks = {"block1": 64, "block2": 256, "block3": 512, "block4": 1024, "block5": 2048}
    assert channels_of(network) == {**blocks, "decoder": 2048 + 4 * 512, "penultimate": 512}
    assert len(list(network.get_submodule("backbone.layer3").children())) == 23
    output = network(torch.empty(1, 3, 64, 96, device="meta"))
    assert output.features["block5"].shape == (1, 2048, 8, 12)


def test_pyramid_averages() -> None:
    """With identity projections the branch of one bin is the mean of the map, everywhere."""
    network = build_network("pspnet_resnet18", 2, bins=(1,), head_channels=8).eval()
    x = torch.randn(1, 512, 3, 5, generator=torch.Generator().manual_seed(0))
    pyramid = network.get_submodule("pyramid")
    pool, conv, norm, relu = pyramid.get_submodule("branches.0").children()
    assert isinstance(pool, nn.AdaptiveAvgPool2d)
    branch = pyramid(x)[:, 512:]
    expected = relu(norm(conv(x.mean(dim=(2, 3), keepdim=True)))).expand(1, 8, 3, 5)
    assert_close(branch, expected)
    assert pool.output_size == 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("erfnt", {}, "known: erfnet, enet, resnet18, pspnet_resnet18"),
        ("erfnet", {"bins": (1,)}, "network erfnet: has no such option, found 'bins'; it has: width, blocks, dropout"),
        ("resnet18", {"depth": 50}, "it has: width, dropout"),
        ("pspnet_resnet50", {"depth": 18}, "it has: bins, head_channels, dropout, layout, width"),
        ("erfnet", {"width": 0.0}, "width: must be > 0"),
        ("enet", {"blocks": (4,)}, "blocks: must be two counts"),
        ("pspnet_resnet18", {"bins": ()}, "pspnet bins"),
    ],
)
def test_misuse_is_named(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        build_network(name, 5, **options)


def test_gradients_of_a_strided_shortcut_of_four_channels_are_those_of_float64() -> None:
    """oneDNN's own kernel writes past its buffer here in channels-last memory, on machines with AVX2 only."""
    torch.manual_seed(0)
    network = build_network("resnet18", 5, width=0.0625).eval().to(memory_format=torch.channels_last)
    exact = copy.deepcopy(network).double()
    images = torch.rand(4, 3, 32, 64)
    for net, x in ((network, images.contiguous(memory_format=torch.channels_last)), (exact, images.double())):
        net(x).logits.square().mean().backward()
    for (name, weight), wanted in zip(network.named_parameters(), exact.parameters(), strict=True):
        assert weight.grad is not None
        assert wanted.grad is not None
        scale = wanted.grad.abs().max().clamp_min(1e-6)
        assert float((weight.grad.double() - wanted.grad).abs().max() / scale) < 1e-2, name
