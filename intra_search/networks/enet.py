"""ENet (Paszke et al., 2016, "ENet: A Deep Neural Network Architecture for Real-Time Semantic Segmentation").

Built as in the paper's Table 1: a deep encoder and a shallow decoder that unpools with the encoder's pooling indices.
Convolutions inside a bottleneck have no bias (section 3). PReLU in the encoder, with one slope per channel; ReLU in the
decoder.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intra_search.networks.output import DECODER, PENULTIMATE, NetworkOutput
from intra_search.networks.shape import check_blocks, check_input_size, scaled_channels

ASYMMETRIC_KERNEL = 5
DILATION_OF_KIND = {"regular": 1, "dilated2": 2, "dilated4": 4, "dilated8": 8, "dilated16": 16}
STAGE_KINDS = ("regular", "dilated2", "asymmetric", "dilated4", "regular", "dilated8", "asymmetric", "dilated16")
"""Bottlenecks 2.1 to 2.8 of Table 1; stage 3 repeats them."""

Activation = Callable[[int], nn.Module]


def _relu(_channels: int) -> nn.Module:
    return nn.ReLU()


def _conv_norm(conv: nn.Module, channels: int, activation: Activation | None) -> nn.Sequential:
    layers = [conv, nn.BatchNorm2d(channels)]
    return nn.Sequential(*layers, *([activation(channels)] if activation else []))


class InitialBlock(nn.Module):
    """Halves the size: a 3x3 convolution and max pooling of the image, concatenated."""

    def __init__(self, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels_out - 3, kernel_size=3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)
        self.activation = nn.PReLU(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(self.norm(torch.cat([self.conv(x), F.max_pool2d(x, 2)], dim=1)))
        return y


class Bottleneck(nn.Module):
    """1x1 projection to a quarter, a main convolution of one `kind`, 1x1 expansion, dropout, shortcut."""

    def __init__(self, channels: int, kind: str, dropout: float, activation: Activation) -> None:
        super().__init__()
        inner = channels // 4
        self.branch = nn.Sequential(
            _conv_norm(nn.Conv2d(channels, inner, 1, bias=False), inner, activation),
            _conv_norm(_main_conv(inner, kind), inner, activation),
            _conv_norm(nn.Conv2d(inner, channels, 1, bias=False), channels, None),
            nn.Dropout2d(dropout),
        )
        self.activation = activation(channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(x + self.branch(x))
        return y


def _main_conv(channels: int, kind: str) -> nn.Module:
    if kind == "asymmetric":
        margin = ASYMMETRIC_KERNEL // 2
        return nn.Sequential(
            nn.Conv2d(channels, channels, (ASYMMETRIC_KERNEL, 1), padding=(margin, 0), bias=False),
            nn.Conv2d(channels, channels, (1, ASYMMETRIC_KERNEL), padding=(0, margin), bias=False),
        )
    dilation = DILATION_OF_KIND[kind]
    return nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)


class DownBottleneck(nn.Module):
    """Halves the size; the shortcut is max pooling, padded with zero channels. Also returns the pooling indices."""

    def __init__(self, channels_in: int, channels_out: int, dropout: float) -> None:
        super().__init__()
        inner = channels_in // 4
        self.extra_channels = channels_out - channels_in
        self.branch = nn.Sequential(
            _conv_norm(nn.Conv2d(channels_in, inner, 2, stride=2, bias=False), inner, nn.PReLU),
            _conv_norm(_main_conv(inner, "regular"), inner, nn.PReLU),
            _conv_norm(nn.Conv2d(inner, channels_out, 1, bias=False), channels_out, None),
            nn.Dropout2d(dropout),
        )
        self.activation = nn.PReLU(channels_out)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pooled, indices = F.max_pool2d(x, 2, return_indices=True)
        # The order is (W left, W right, H left, H right, C left, C right).
        shortcut = F.pad(pooled, (0, 0, 0, 0, 0, self.extra_channels))
        return self.activation(shortcut + self.branch(x)), indices


class UpBottleneck(nn.Module):
    """Doubles the size; the shortcut is unpooled to the places of the encoder's maxima."""

    def __init__(self, channels_in: int, channels_out: int, dropout: float) -> None:
        super().__init__()
        inner = channels_in // 4
        self.shortcut = _conv_norm(nn.Conv2d(channels_in, channels_out, 1, bias=False), channels_out, None)
        up = nn.ConvTranspose2d(inner, inner, 3, stride=2, padding=1, output_padding=1, bias=False)
        self.branch = nn.Sequential(
            _conv_norm(nn.Conv2d(channels_in, inner, 1, bias=False), inner, _relu),
            _conv_norm(up, inner, _relu),
            _conv_norm(nn.Conv2d(inner, channels_out, 1, bias=False), channels_out, None),
            nn.Dropout2d(dropout),
        )

    def forward(self, x: Tensor, indices: Tensor) -> Tensor:
        return F.relu(F.max_unpool2d(self.shortcut(x), indices, [2, 2]) + self.branch(x))


class ENet(nn.Module):
    """The published network has `width=1, blocks=(4, 16)`.

    Args:
        num_classes: K.
        width: factor on every channel count (16, 64, 128 as published), rounded to multiples of 4.
        blocks: bottlenecks at 1/4 and at 1/8 of the input, without the downsampling ones; those at 1/8 repeat the
            paper's eight kinds (regular, dilated 2, asymmetric, dilated 4, ...).
        dropout: rates at 1/4 and in all later blocks (published: 0.01 and 0.1).

    Features: `block1` (1/2), `block2` (1/4), `block3` (1/8, the end of the encoder), `decoder` (1/4), `penultimate`
    (1/2, what the classifier reads).
    """

    def __init__(
        self,
        num_classes: int,
        *,
        width: float = 1.0,
        blocks: Sequence[int] = (4, 16),
        dropout: Sequence[float] = (0.01, 0.1),
    ) -> None:
        super().__init__()
        narrow, middle, wide = scaled_channels((16, 64, 128), width)
        shallow, deep = check_blocks(blocks)
        early, late = dropout
        encoder = {"block1": narrow, "block2": middle, "block3": wide}
        self.feature_channels = {**encoder, DECODER: middle, PENULTIMATE: narrow}
        self.initial = InitialBlock(narrow)
        self.down1 = DownBottleneck(narrow, middle, early)
        self.stage1 = nn.Sequential(*(Bottleneck(middle, "regular", early, nn.PReLU) for _ in range(shallow)))
        self.down2 = DownBottleneck(middle, wide, late)
        kinds = [STAGE_KINDS[index % len(STAGE_KINDS)] for index in range(deep)]
        self.stage2 = nn.Sequential(*(Bottleneck(wide, kind, late, nn.PReLU) for kind in kinds))
        self.up1 = UpBottleneck(wide, middle, late)
        self.stage4 = nn.Sequential(*(Bottleneck(middle, "regular", late, _relu) for _ in range(2)))
        self.up2 = UpBottleneck(middle, narrow, late)
        self.stage5 = Bottleneck(narrow, "regular", late, _relu)
        self.classifier = nn.ConvTranspose2d(narrow, num_classes, 3, stride=2, padding=1, output_padding=1)

    def forward(self, images: Tensor) -> NetworkOutput:
        """Images (B, 3, H, W), normalised, H and W multiples of 8."""
        check_input_size(images)
        block1 = self.initial(images)
        pooled1, indices1 = self.down1(block1)
        block2 = self.stage1(pooled1)
        pooled2, indices2 = self.down2(block2)
        block3 = self.stage2(pooled2)
        decoder = self.stage4(self.up1(block3, indices2))
        penultimate = self.stage5(self.up2(decoder, indices1))
        features = {"block1": block1, "block2": block2, "block3": block3, DECODER: decoder, PENULTIMATE: penultimate}
        return NetworkOutput(self.classifier(penultimate), features)
