"""Weights from elsewhere: the authors' names, shapes, input and pyramid; what cannot be read or fetched."""

import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from intra_search.errors import CheckpointError, SettingError
from intra_search.networks.build import build_network
from intra_search.networks.input import normalise
from intra_search.networks.pspnet import ScaledPyramid
from intra_search.networks.released import BGR_MEAN, depth_of, imagenet_state, is_file, load_imagenet, load_released

BATCH_NORM = ("weight", "bias", "running_mean", "running_var")  # PyTorch 0.3 counted no batches


def norm_names(prefix: str, channels: int) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}.{name}": (channels,) for name in BATCH_NORM}


def released_shapes(num_classes: int = 37) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the authors' PSPNet with ResNet-101, written down from their model's definition."""
    shapes: dict[str, tuple[int, ...]] = {"base_model.conv1.weight": (64, 3, 7, 7)} | norm_names("base_model.bn1", 64)
    channels = 64
    for layer, (planes, blocks) in enumerate([(64, 3), (128, 4), (256, 23), (512, 3)], start=1):
        for block in range(blocks):
            home = f"base_model.layer{layer}.{block}"
            kernels = [(planes, channels, 1, 1), (planes, planes, 3, 3), (4 * planes, planes, 1, 1)]
            for number, kernel in enumerate(kernels):
                shapes[f"{home}.conv{number + 1}.weight"] = kernel
                shapes |= norm_names(f"{home}.bn{number + 1}", kernel[0])
            if block == 0:
                shapes[f"{home}.downsample.0.weight"] = (4 * planes, channels, 1, 1)
                shapes |= norm_names(f"{home}.downsample.1", 4 * planes)
            channels = 4 * planes
    for scale in range(4):
        shapes[f"context_model.conv2d_list.{scale}.weight"] = (512, 2048, 1, 1)
        shapes |= norm_names(f"context_model.bn2d_list.{scale}", 512)
    shapes["context_model.out_conv2d.weight"] = (512, 2048 + 4 * 512, 3, 3)
    shapes |= norm_names("context_model.out_bn2d", 512)
    return shapes | {"classifier.weight": (num_classes, 512, 1, 1), "classifier.bias": (num_classes,)}


def saved(path: Path, state: dict[str, Tensor], **others: Any) -> str:
    torch.save({"epoch": 24, "arch": "resnet101", "state_dict": state, "best_mIoU": np.float64(0.4), **others}, path)
    return str(path)


def test_names_and_shapes_of_the_released_teacher_fit(tmp_path: Path) -> None:
    """Each tensor holds its own number, so that a mix-up of two of one shape shows."""
    names = sorted(released_shapes())
    state = {f"module.{name}": torch.full(released_shapes()[name], 1.0 + number) for number, name in enumerate(names)}
    with torch.device("meta"):
        network = build_network("pspnet_resnet101", 37, layout="authors")
    network.to_empty(device="cpu")
    load_released(network, saved(tmp_path / "teacher.pth.tar", state))
    own = network.state_dict()
    for ours, theirs in {
        "backbone.layer3.22.conv2.weight": "base_model.layer3.22.conv2.weight",
        "backbone.layer1.0.downsample.1.running_var": "base_model.layer1.0.downsample.1.running_var",
        "pyramid.branches.3.0.weight": "context_model.conv2d_list.3.weight",
        "pyramid.branches.0.1.bias": "context_model.bn2d_list.0.bias",
        "head.0.weight": "context_model.out_conv2d.weight",
        "head.1.running_mean": "context_model.out_bn2d.running_mean",
        "head.4.bias": "classifier.bias",
        "backbone.bn1.weight": "base_model.bn1.weight",
    }.items():
        assert (own[ours] == 1.0 + names.index(theirs)).all(), ours
    counters = [name for name in own if name.endswith("num_batches_tracked")]
    assert len(own) == len(names) + len(counters)
    untouched = {"backbone.conv1.weight", "backbone.bn1.running_mean"}  # these two carry the change of input
    values = {float(value.flatten()[0]) for name, value in own.items() if name not in {*untouched, *counters}}
    assert len(values) == len(names) - 2


def small(layout: str = "authors") -> nn.Module:
    torch.manual_seed(0)
    network = build_network("pspnet_resnet18", 5, layout=layout, head_channels=8).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network


def convolution(network: nn.Module, name: str) -> nn.Conv2d:
    module = network.get_submodule(name)
    assert isinstance(module, nn.Conv2d)
    return module


def as_theirs(network: nn.Module) -> dict[str, Tensor]:
    """The state of a small network of ours under the authors' names."""
    theirs = {}
    for name, value in network.state_dict().items():
        parts = name.split(".")
        if parts[0] == "backbone":
            parts[0] = "base_model"
        elif parts[0] == "pyramid":
            parts = ["context_model", {"0": "conv2d_list", "1": "bn2d_list"}[parts[3]], parts[2], *parts[4:]]
        elif parts[:2] == ["head", "4"]:
            parts = ["classifier", *parts[2:]]
        else:
            parts = ["context_model", {"0": "out_conv2d", "1": "out_bn2d"}[parts[1]], *parts[2:]]
        if parts[-1] != "num_batches_tracked":
            theirs["module." + ".".join(parts)] = value
    return theirs


def test_our_input_gives_what_theirs_gave(tmp_path: Path) -> None:
    """They feed blue, green, red bytes less a mean; we feed normalised red, green, blue."""
    theirs, ours = small(), small()
    for parameter in ours.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        convolution(theirs, "backbone.conv1").weight /= 60  # inputs of the size of bytes
    load_released(ours, saved(tmp_path / "teacher.pth", as_theirs(theirs)))
    images = torch.randint(256, (2, 3, 96, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs(images.flip(1).float() - torch.tensor(BGR_MEAN).view(1, 3, 1, 1))
        found = ours(normalise(images))
    # The first convolution pads; behind its border the two agree to rounding.
    inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    first, own_first = expected.features["block1"], found.features["block1"]
    assert_close(own_first[inner], first[inner], rtol=1e-4, atol=1e-4)
    assert float((own_first - first).abs().max()) < 0.02 * float(first.abs().max())
    assert float((found.logits - expected.logits).abs().max()) < 0.05 * float(expected.logits.abs().max())


@pytest.mark.parametrize("size", [(10, 10), (20, 30), (7, 23), (13, 61)])
def test_the_authors_pyramid_by_its_definition(size: tuple[int, int]) -> None:
    """Every reduced value by the formula of bilinear sampling with aligned corners, on the map padded their way."""
    torch.manual_seed(0)
    pyramid = ScaledPyramid(3, 2).double().eval()
    x = torch.randn(1, 3, *size, dtype=torch.float64)
    found = pyramid(x)
    assert torch.equal(found[:, :3], x)
    for number, scale in enumerate((10, 20, 30, 60)):
        rows, columns = -(-size[0] // scale), -(-size[1] // scale)
        over_rows, over_columns = rows * scale - size[0], columns * scale - size[1]
        padded = np.pad(x[0].numpy(), ((0, 0), half(over_columns), half(over_rows)))
        small_map = torch.from_numpy(aligned(padded, rows, columns))[None]
        projected = pyramid.branches[number](small_map)[0].detach().numpy()
        large = aligned(projected, rows * scale, columns * scale)
        wanted = large[:, over_rows // 2 :, over_columns // 2 :][:, : size[0], : size[1]]
        assert_close(found[0, 3 + 2 * number : 5 + 2 * number], torch.from_numpy(wanted))


def half(total: int) -> tuple[int, int]:
    return total // 2, total - total // 2


def aligned(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Bilinear sampling of (C, h, w) at rows x columns points whose first and last lie on the corners."""
    result = np.zeros((len(values), rows, columns))
    for row in range(rows):
        for column in range(columns):
            y = row * (values.shape[1] - 1) / max(rows - 1, 1)
            x = column * (values.shape[2] - 1) / max(columns - 1, 1)
            top, left = min(int(y), values.shape[1] - 1), min(int(x), values.shape[2] - 1)
            bottom, right = min(top + 1, values.shape[1] - 1), min(left + 1, values.shape[2] - 1)
            upper = values[:, top, left] * (1 - x + left) + values[:, top, right] * (x - left)
            lower = values[:, bottom, left] * (1 - x + left) + values[:, bottom, right] * (x - left)
            result[:, row, column] = upper * (1 - y + top) + lower * (y - top)
    return result


def test_the_authors_layout_dilates_whole_stages() -> None:
    authors, paper = small("authors"), small("paper")
    assert dilations(authors, "layer4") == [4, 4]
    assert dilations(paper, "layer4") == [2, 4]
    assert dilations(authors, "layer3") == [2, 2]


def dilations(network: nn.Module, stage: str) -> list[int]:
    """Of each block's first convolution."""
    blocks = network.get_submodule(f"backbone.{stage}").children()
    return [convolution(block, "conv1").dilation[0] for block in blocks]


def refused(network: nn.Module, uri: str) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_released(network, uri)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    state = as_theirs(small())
    uri = saved(tmp_path / "teacher.pth", state)
    assert "pyramid.branches.0" in refused(small("paper"), uri)
    del state["module.classifier.bias"]
    assert "found head.4.bias none for (5,) (1 in all)" in refused(small(), saved(tmp_path / "less.pth", state))
    other = {**as_theirs(small()), "module.classifier.bias": torch.zeros(36)}
    assert "found head.4.bias (36,) for (5,) (1 in all)" in refused(small(), saved(tmp_path / "other.pth", other))
    assert "scenes.ignored_class = true" in refused(small(), saved(tmp_path / "other.pth", other))


def test_what_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "teacher.pth"
    assert refused(small(), str(path)).startswith(f"teacher.checkpoint = {path}: must exist")
    for content in (b"", b"no weights", b"PK\x03\x04 and no more"):
        path.write_bytes(content)
        assert "must be a state dict saved by torch" in refused(small(), str(path))
    torch.save([1, 2], path)
    assert "must be a state dict saved by torch" in refused(small(), str(path))
    torch.save({"state_dict": {"module.classifier.bias": 3}}, path)
    assert "must be a state dict saved by torch" in refused(small(), str(path))


def test_a_bare_and_an_old_style_state_dict_are_read(tmp_path: Path) -> None:
    network = small()
    theirs = {name.removeprefix("module."): value for name, value in as_theirs(small()).items()}
    torch.save(theirs, tmp_path / "bare.pth")
    load_released(network, str(tmp_path / "bare.pth"))
    content = {"state_dict": theirs, "best_mIoU": 0.4}
    torch.save(content, tmp_path / "old.pth.tar", _use_new_zipfile_serialization=False)
    load_released(network, str(tmp_path / "old.pth.tar"))
    bias = convolution(network, "head.4").bias
    assert bias is not None
    assert F.mse_loss(bias, theirs["classifier.bias"]) == 0


def test_files_are_told_from_folders_by_name() -> None:
    assert is_file("s3://bucket/teacher.pth.tar?scheme=http")
    assert is_file("/data/teacher.pth")
    assert not is_file("studies/demo/teacher/abc/gen-1/checkpoint-000007")


def test_imagenet_weights_become_the_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import resnet18
    from torchvision.models._api import WeightsEnum

    theirs: dict[str, Tensor] = resnet18().state_dict()
    asked: list[str] = []

    def noting(weights: WeightsEnum, **_: object) -> dict[str, Tensor]:
        asked.append(str(weights))
        return theirs

    monkeypatch.setattr(WeightsEnum, "get_state_dict", noting)
    network = small("paper")
    load_imagenet(network, depth_of("pspnet_resnet18"))
    assert asked == ["ResNet18_Weights.IMAGENET1K_V1"]
    assert torch.equal(convolution(network, "backbone.layer4.1.conv2").weight, theirs["layer4.1.conv2.weight"])


def test_without_a_way_to_fetch_them_one_line_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from torchvision.models._api import WeightsEnum

    def fail(self: WeightsEnum, **_: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", fail)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(SettingError) as caught:
        imagenet_state(101)
    text = str(caught.value)
    assert text.startswith("teacher.pretrained: needs resnet101-")
    assert f"copy it to {tmp_path}/hub/checkpoints/, or remove the setting" in text
    assert "no route to host" in text
    assert "\n" not in text
