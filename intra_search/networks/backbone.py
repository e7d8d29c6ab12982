"""ResNet backbones at output stride 8, from torchvision's blocks and under torchvision's parameter names.

torchvision has no dilation for the blocks of ResNet-18 and 34, and width factors for Bottleneck blocks only. So the
stages are assembled here, and dilations are set on the convolutions afterwards, in the same way for all depths.
Weights of a torchvision ResNet of the same depth can be loaded by name (without `fc`).
"""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from intra_search.errors import SettingError
from intra_search.networks.shape import scaled_channels


class Depth(NamedTuple):
    """Block type, and number of blocks in each stage, of one published depth."""

    block: type[BasicBlock] | type[Bottleneck]
    stages: tuple[int, int, int, int]


DEPTHS = {
    18: Depth(BasicBlock, (2, 2, 2, 2)),
    34: Depth(BasicBlock, (3, 4, 6, 3)),
    50: Depth(Bottleneck, (3, 4, 6, 3)),
    101: Depth(Bottleneck, (3, 4, 23, 3)),
}


class DilatedResNet(nn.Module):
    """Stem and four stages; `layer3` and `layer4` keep the size of `layer2` (1/8) by dilations 2 and 4.

    The first block of a dilated stage has the dilation of the stage before: so its convolution reads the same pixels as
    in the original with strides. With `dilate_first` it has its own stage's dilation, as in the authors' code.
    """

    def __init__(self, depth: int, width: float = 1.0, *, dilate_first: bool = False) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise SettingError("ResNet depth", f"must be one of {sorted(DEPTHS)}", depth, "choose a known depth")
        block, (blocks1, blocks2, blocks3, blocks4) = DEPTHS[depth]
        planes = scaled_channels((64, 128, 256, 512), width)
        stem = planes[0]
        out1, out2, out3, out4 = (block.expansion * count for count in planes)
        self.feature_channels = {"block1": stem, "block2": out1, "block3": out2, "block4": out3, "block5": out4}
        self.conv1 = nn.Conv2d(3, stem, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.layer1 = _stage(block, stem, planes[0], blocks1, stride=1)
        self.layer2 = _stage(block, out1, planes[1], blocks2, stride=2)
        self.layer3 = _stage(block, out2, planes[2], blocks3, stride=1)
        self.layer4 = _stage(block, out3, planes[3], blocks4, stride=1)
        _dilate(self.layer3, first=2 if dilate_first else 1, others=2)
        _dilate(self.layer4, first=4 if dilate_first else 2, others=4)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images (B, 3, H, W) to `block1` (stem, unpooled, 1/2), `block2` (1/4) and `block3` .. 5 (1/8)."""
        block1 = F.relu(self.bn1(self.conv1(images)))
        block2 = self.layer1(F.max_pool2d(block1, kernel_size=3, stride=2, padding=1))
        block3 = self.layer2(block2)
        block4 = self.layer3(block3)
        block5 = self.layer4(block4)
        return {"block1": block1, "block2": block2, "block3": block3, "block4": block4, "block5": block5}


class _SubsampledConv2d(nn.Conv2d):
    """A 1x1 convolution with a stride that picks its pixels first: the same numbers, parameters and names.

    For fewer than 8 input channels in channels-last memory, oneDNN's AVX2 kernel of such a convolution writes past its
    buffer in the backward pass: wrong gradients or a crash (uxlfoundation/oneDNN issue 6035, open in 2026).
    """

    def forward(self, input: Tensor) -> Tensor:  # torch's name
        rows, columns = self.stride
        return F.conv2d(input[:, :, ::rows, ::columns], self.weight, self.bias)


def _stage(
    block: type[BasicBlock] | type[Bottleneck], channels_in: int, planes: int, blocks: int, stride: int
) -> nn.Sequential:
    channels_out = planes * block.expansion
    shortcut = None
    if stride != 1 or channels_in != channels_out:
        convolution = _SubsampledConv2d if stride != 1 and channels_in < 8 else nn.Conv2d
        shortcut = nn.Sequential(
            convolution(channels_in, channels_out, kernel_size=1, stride=stride, bias=False),
            nn.BatchNorm2d(channels_out),
        )
    first = block(channels_in, planes, stride, shortcut)
    return nn.Sequential(first, *(block(channels_out, planes) for _ in range(blocks - 1)))


def _dilate(stage: nn.Sequential, first: int, others: int) -> None:
    for index, block in enumerate(stage):
        dilation = first if index == 0 else others
        for module in block.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                module.dilation = (dilation, dilation)
                module.padding = (dilation, dilation)
