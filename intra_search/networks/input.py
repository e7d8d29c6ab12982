"""From the bytes of an image to a network's input; the same for training, teacher, evaluation and export."""

import torch
from torch import Tensor

# ImageNet's channel statistics in RGB, 0..1: the scale that pretrained ResNets expect. The authors' code subtracts
# a BGR mean only; batch normalisation makes the two equivalent for networks trained from scratch.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(images: Tensor) -> Tensor:
    """RGB bytes (B, 3, H, W) to about zero mean and unit variance, on the same device and memory format.

    The result has torch's default dtype: float32, unless a test computes all in float64.
    """
    mean = torch.tensor(MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=images.device).view(1, 3, 1, 1)
    return (images.to(mean.dtype) / 255 - mean) / std
