"""ERFNet (Romera et al., 2018, "ERFNet: Efficient Residual Factorized ConvNet"), the student of IntRA-KD.

Without the extra head of the authors' release, which is for pre-training the encoder alone.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intra_search.networks.output import DECODER, PENULTIMATE, NetworkOutput
from intra_search.networks.shape import check_blocks, check_input_size, scaled_channels

BATCH_NORM_EPS = 1e-3  # as published; torch's default is 1e-5
DILATIONS = (2, 4, 8, 16)


class Downsampler(nn.Module):
    """Halves the size: a strided convolution and a max pooling of the input, concatenated."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out - channels_in, kernel_size=3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(channels_out, eps=BATCH_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(torch.cat([self.conv(x), F.max_pool2d(x, 2)], dim=1)))


class FactorizedBlock(nn.Module):
    """Non-bottleneck-1D: two 3x3 convolutions as pairs of 3x1 and 1x3, the second pair dilated, and a shortcut."""

    def __init__(self, channels: int, dropout: float, dilation: int) -> None:
        super().__init__()
        self.column1 = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0))
        self.row1 = nn.Conv2d(channels, channels, (1, 3), padding=(0, 1))
        self.norm1 = nn.BatchNorm2d(channels, eps=BATCH_NORM_EPS)
        self.column2 = nn.Conv2d(channels, channels, (3, 1), padding=(dilation, 0), dilation=(dilation, 1))
        self.row2 = nn.Conv2d(channels, channels, (1, 3), padding=(0, dilation), dilation=(1, dilation))
        self.norm2 = nn.BatchNorm2d(channels, eps=BATCH_NORM_EPS)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.row1(F.relu(self.column1(x)))))
        y = self.dropout(self.norm2(self.row2(F.relu(self.column2(y)))))
        return F.relu(y + x)


class Upsampler(nn.Module):
    """Doubles the size by a transposed convolution."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(channels_in, channels_out, 3, stride=2, padding=1, output_padding=1)
        self.norm = nn.BatchNorm2d(channels_out, eps=BATCH_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class ERFNet(nn.Module):
    """The published network has `width=1, blocks=(5, 8)`: 2,063,281 parameters for 5 classes.

    Args:
        num_classes: K.
        width: factor on every channel count (16, 64, 128 as published), rounded to multiples of 4.
        blocks: factorized blocks at 1/4 and at 1/8 of the input; dilations at 1/8 repeat 2, 4, 8, 16.
        dropout: rates in the blocks at 1/4 and at 1/8 (published: 0.03 and 0.3).

    Features: `block1` (1/2), `block2` (1/4), `block3` (1/8, the end of the encoder), `decoder` (1/4), `penultimate`
    (1/2, what the classifier reads).
    """

    def __init__(
        self,
        num_classes: int,
        *,
        width: float = 1.0,
        blocks: Sequence[int] = (5, 8),
        dropout: Sequence[float] = (0.03, 0.3),
    ) -> None:
        super().__init__()
        narrow, middle, wide = scaled_channels((16, 64, 128), width)
        shallow, deep = check_blocks(blocks)
        encoder = {"block1": narrow, "block2": middle, "block3": wide}
        self.feature_channels = {**encoder, DECODER: middle, PENULTIMATE: narrow}
        self.block1 = Downsampler(3, narrow)
        self.block2 = nn.Sequential(
            Downsampler(narrow, middle), *(FactorizedBlock(middle, dropout[0], 1) for _ in range(shallow))
        )
        dilations = [DILATIONS[index % len(DILATIONS)] for index in range(deep)]
        self.block3 = nn.Sequential(
            Downsampler(middle, wide), *(FactorizedBlock(wide, dropout[1], dilation) for dilation in dilations)
        )
        self.decoder = nn.Sequential(
            Upsampler(wide, middle),
            *(FactorizedBlock(middle, 0, 1) for _ in range(2)),
            Upsampler(middle, narrow),
            *(FactorizedBlock(narrow, 0, 1) for _ in range(2)),
            nn.ConvTranspose2d(narrow, num_classes, kernel_size=2, stride=2),
        )

    def forward(self, images: Tensor) -> NetworkOutput:
        """Images (B, 3, H, W), normalised, H and W multiples of 8."""
        check_input_size(images)
        block1 = self.block1(images)
        block2 = self.block2(block1)
        block3 = self.block3(block2)
        decoder = self.decoder[:3](block3)
        penultimate = self.decoder[3:-1](decoder)
        features = {"block1": block1, "block2": block2, "block3": block3, DECODER: decoder, PENULTIMATE: penultimate}
        return NetworkOutput(self.decoder[-1](penultimate), features)
