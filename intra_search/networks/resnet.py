"""ResNet-18 as a student: dilated to stride 8, with a simple head.

IntRA-KD names a ResNet-18 student but not its head. This one is a convolution to 128 channels, dropout, a classifier.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from intra_search.networks.backbone import DilatedResNet
from intra_search.networks.output import DECODER, PENULTIMATE, NetworkOutput
from intra_search.networks.shape import check_input_size, scaled_channels


class SegmentationResNet(nn.Module):
    """A dilated ResNet with a linear head.

    Args:
        num_classes: K.
        depth: 18, 34, 50 or 101.
        width: factor on every channel count, rounded to multiples of 4; 1 is the published network.
        dropout: rate before the classifier.

    Features: `block1` (stem, 1/2), `block2` (1/4), `block3`, `block4`, `block5` (1/8), `decoder` (there is none: it is
    `block5`, which the head reads), `penultimate` (1/8, what the classifier reads, before dropout).
    """

    def __init__(self, num_classes: int, *, depth: int, width: float = 1.0, dropout: float = 0.1) -> None:
        super().__init__()
        self.backbone = DilatedResNet(depth, width)
        (head,) = scaled_channels((128,), width)
        encoder = self.backbone.feature_channels
        self.feature_channels = {**encoder, DECODER: encoder["block5"], PENULTIMATE: head}
        self.head = nn.Sequential(
            nn.Conv2d(self.feature_channels["block5"], head, kernel_size=1, bias=False),
            nn.BatchNorm2d(head),
            nn.ReLU(),
            nn.Dropout2d(dropout),
            nn.Conv2d(head, num_classes, kernel_size=1),
        )

    def forward(self, images: Tensor) -> NetworkOutput:
        """Images (B, 3, H, W), normalised, H and W multiples of 8."""
        check_input_size(images)
        features = self.backbone(images)
        penultimate = self.head[:-2](features["block5"])
        logits = F.interpolate(self.head[-2:](penultimate), images.shape[-2:], mode="bilinear", align_corners=False)
        return NetworkOutput(logits, {**features, DECODER: features["block5"], PENULTIMATE: penultimate})
