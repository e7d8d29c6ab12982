"""The existence branch: it says which lanes a picture has, from a network's deepest feature.

It is the branch of the authors' ERFNet for CULane, here for every network. Their code passes the result of a sigmoid to
a loss that takes logits; here the branch returns logits.
"""

# B images, C channels, L lanes, h w feature height and width

from typing import cast

import torch
from torch import Tensor, nn

from intra_search.errors import SettingError
from intra_search.networks.output import EXISTENCE, NetworkOutput
from intra_search.networks.shape import OUTPUT_STRIDE

INNER, BRANCH = "network.", "branch."
"""Prefixes of a `LaneNetwork`'s weights: those of the network that it wraps, and those of its branch."""
_MIDDLE_CHANNELS = 32
_HIDDEN = 128
_DROPOUT = 0.1
_DILATION = 4


class ExistenceBranch(nn.Module):
    """3x3 convolution with dilation 4 to 32 channels, BatchNorm, ReLU, dropout; 1x1 convolution to lanes + 1 maps,
    softmax over them, 2x2 max pooling; then all cells through a hidden layer of 128 to one logit per lane.

    Args:
        channels: C of the feature it reads.
        num_lanes: L.
        size: (h, w) of that feature. Like the authors' branch, it is made for one input size.
    """

    def __init__(self, channels: int, num_lanes: int, size: tuple[int, int]) -> None:
        super().__init__()
        cells = (size[0] // 2) * (size[1] // 2) * (num_lanes + 1)
        self._size = size
        self.maps = nn.Sequential(
            nn.Conv2d(channels, _MIDDLE_CHANNELS, 3, padding=_DILATION, dilation=_DILATION, bias=False),
            nn.BatchNorm2d(_MIDDLE_CHANNELS),
            nn.ReLU(),
            nn.Dropout2d(_DROPOUT),
            nn.Conv2d(_MIDDLE_CHANNELS, num_lanes + 1, 1),
            nn.Softmax(dim=1),
            nn.MaxPool2d(2),
        )
        self.lanes = nn.Sequential(nn.Linear(cells, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, num_lanes))

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, L) of features (B, C, h, w). Raises `SettingError` for a size it was not made for."""
        size = (features.shape[2], features.shape[3])
        if size != self._size:
            wanted, found = (
                f"{height * OUTPUT_STRIDE} x {width * OUTPUT_STRIDE}" for height, width in (self._size, size)
            )
            rule = "must be the input size that the existence branch was trained at"
            raise SettingError("scenes.height, scenes.width", rule, found, f"use {wanted}")
        logits: Tensor = self.lanes(torch.flatten(self.maps(features), 1))
        return logits


class LaneNetwork(nn.Module):
    """A network with an existence branch on its encoder's last feature (`block3` of ERFNet and ENet, `block5` of
    ResNets).

    Its features are the network's and `existence`: (B, L) logits. Distillation reads features by name, so it works as
    with the network alone.

    Args:
        network: any of `intra_search.networks.build`.
        num_lanes: L.
        input_size: (H, W) of the images.
    """

    def __init__(self, network: nn.Module, num_lanes: int, input_size: tuple[int, int]) -> None:
        super().__init__()
        self.network = network
        self.feature_channels = cast(dict[str, int], network.feature_channels)
        self._deepest = [name for name in self.feature_channels if name.startswith("block")][-1]
        size = (input_size[0] // OUTPUT_STRIDE, input_size[1] // OUTPUT_STRIDE)
        self.branch = ExistenceBranch(self.feature_channels[self._deepest], num_lanes, size)

    def forward(self, images: Tensor) -> NetworkOutput:
        """Images (B, 3, H, W), normalised, of the size that the branch was made for."""
        output: NetworkOutput = self.network(images)
        existence = self.branch(output.features[self._deepest])
        return output._replace(features={**output.features, EXISTENCE: existence})
