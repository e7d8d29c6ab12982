"""PSPNet (Zhao et al., 2017, "Pyramid Scene Parsing Network"), the teacher of IntRA-KD.

The authors' code downsamples bilinearly where the paper averages, swaps two paddings and sets BatchNorm's momentum to
0.95; those read as accidents, and this is the pyramid of the PSPNet paper.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intra_search.errors import SettingError
from intra_search.networks.backbone import DilatedResNet
from intra_search.networks.output import NetworkOutput
from intra_search.networks.shape import check_input_size


class PyramidPooling(nn.Module):
    """Averages over 1x1, 2x2, ... grids, each projected, brought back to size and concatenated with the input."""

    def __init__(self, channels_in: int, channels_bin: int, bins: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(size),
                nn.Conv2d(channels_in, channels_bin, kernel_size=1, bias=False),
                nn.BatchNorm2d(channels_bin),
                nn.ReLU(),
            )
            for size in bins
        )
        self.channels_out = channels_in + channels_bin * len(bins)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        pooled = [F.interpolate(branch(x), size=size, mode="bilinear", align_corners=False) for branch in self.branches]
        return torch.cat([x, *pooled], dim=1)


class PSPNet(nn.Module):
    """A dilated ResNet with pyramid pooling.

    Args:
        num_classes: K.
        depth: 18, 34, 50 or 101.
        bins: grid sizes of the pyramid.
        head_channels: channels of each pyramid branch and of the head's convolution.
        dropout: rate before the classifier.

    Features: `block1` (stem, 1/2), `block2` (1/4), `block3`, `block4`, `block5` (1/8). In training mode a bin of 1
    needs more than one image per step: BatchNorm has nothing to normalise over otherwise.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        depth: int,
        bins: Sequence[int] = (1, 2, 3, 6),
        head_channels: int = 512,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if not bins or min(bins) < 1:
            raise SettingError("pspnet bins", "must be grid sizes >= 1", list(bins), "published: [1, 2, 3, 6]")
        self.backbone = DilatedResNet(depth)
        self.feature_channels = self.backbone.feature_channels
        self.pyramid = PyramidPooling(self.feature_channels["block5"], head_channels, bins)
        self.head = nn.Sequential(
            nn.Conv2d(self.pyramid.channels_out, head_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(head_channels),
            nn.ReLU(),
            nn.Dropout2d(dropout),
            nn.Conv2d(head_channels, num_classes, kernel_size=1),
        )

    def forward(self, images: Tensor) -> NetworkOutput:
        """Images (B, 3, H, W), normalised, H and W multiples of 8."""
        check_input_size(images)
        features = self.backbone(images)
        logits = self.head(self.pyramid(features["block5"]))
        logits = F.interpolate(logits, size=images.shape[-2:], mode="bilinear", align_corners=False)
        return NetworkOutput(logits, features)
