"""PSPNet (Zhao et al., 2017, "Pyramid Scene Parsing Network"), the teacher of IntRA-KD.

The code of IntRA-KD's authors differs from the PSPNet paper: it downsamples bilinearly where the paper averages, swaps
two paddings and sets BatchNorm's momentum to 0.95. These look like mistakes, so by default the pyramid is the paper's.
But weights trained with that code need it: `layout = "authors"` computes what their code computes in eval mode.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intra_search.errors import SettingError
from intra_search.networks.backbone import DilatedResNet
from intra_search.networks.output import DECODER, PENULTIMATE, NetworkOutput
from intra_search.networks.shape import check_input_size


class PyramidPooling(nn.Module):
    """Averages over 1x1, 2x2, ... grids, each projected, resized to the input and concatenated with it."""

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


class ScaledPyramid(nn.Module):
    """The authors' pyramid: the map reduced by 10, 20, 30, 60 (bilinear, corners aligned as in PyTorch 0.3), each
    projected, enlarged again and concatenated with the input.

    The map is padded with zeros to multiples of the scale. The authors' code pads columns by what rows need and rows by
    what columns need, and crops as if it had not.
    """

    scales = (10, 20, 30, 60)

    def __init__(self, channels_in: int, channels_scale: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels_in, channels_scale, kernel_size=1, bias=False),
                nn.BatchNorm2d(channels_scale),
                nn.ReLU(),
            )
            for _ in self.scales
        )
        self.channels_out = channels_in + channels_scale * len(self.scales)

    def forward(self, x: Tensor) -> Tensor:
        scaled = [self._scaled(x, branch, scale) for branch, scale in zip(self.branches, self.scales, strict=True)]
        return torch.cat([x, *scaled], dim=1)

    @staticmethod
    def _scaled(x: Tensor, branch: nn.Module, scale: int) -> Tensor:
        height, width = x.shape[-2:]
        rows, columns = -(-height // scale), -(-width // scale)
        extra_rows, extra_columns = rows * scale - height, columns * scale - width
        top, left = extra_rows // 2, extra_columns // 2
        padded = F.pad(x, (top, extra_rows - top, left, extra_columns - left))
        small = branch(F.interpolate(padded, size=(rows, columns), mode="bilinear", align_corners=True))
        size = (rows * scale, columns * scale)
        large = F.interpolate(small, size=size, mode="bilinear", align_corners=True)
        return large[:, :, top : top + height, left : left + width]


class PSPNet(nn.Module):
    """A dilated ResNet with pyramid pooling.

    Args:
        num_classes: K.
        depth: 18, 34, 50 or 101.
        bins: grid sizes of the pyramid.
        head_channels: channels of each pyramid branch and of the head's convolution.
        width: factor on every channel count of the backbone, rounded to multiples of 4; 1 is the published network.
        dropout: rate before the classifier.
        layout: `paper`, or `authors` for weights from the authors' code, whose pyramid has fixed scales and no bins.

    Features: `block1` (stem, 1/2), `block2` (1/4), `block3`, `block4`, `block5` (1/8), `decoder` (the pyramid's output,
    1/8), `penultimate` (1/8, what the classifier reads, before dropout). In training mode a bin of 1
    needs more than one image per step: with one, its BatchNorm has a single value per channel.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        depth: int,
        bins: Sequence[int] = (1, 2, 3, 6),
        head_channels: int = 512,
        dropout: float = 0.1,
        layout: Literal["paper", "authors"] = "paper",
        width: float = 1.0,
    ) -> None:
        super().__init__()
        if not bins or min(bins) < 1:
            raise SettingError("pspnet bins", "must be grid sizes >= 1", list(bins), "published: [1, 2, 3, 6]")
        self._as_authors = layout == "authors"
        self.backbone = DilatedResNet(depth, width, dilate_first=self._as_authors)
        channels = self.backbone.feature_channels["block5"]
        self.pyramid: PyramidPooling | ScaledPyramid = (
            ScaledPyramid(channels, head_channels)
            if self._as_authors
            else PyramidPooling(channels, head_channels, bins)
        )
        late = {DECODER: self.pyramid.channels_out, PENULTIMATE: head_channels}
        self.feature_channels = {**self.backbone.feature_channels, **late}
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
        decoder = self.pyramid(features["block5"])
        penultimate = self.head[:-2](decoder)
        logits = self.head[-2:](penultimate)
        size = images.shape[-2:]
        logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=self._as_authors)
        return NetworkOutput(logits, {**features, DECODER: decoder, PENULTIMATE: penultimate})
