"""A network's input from the bytes of an image; the same in training, for the teacher, in evaluation and export."""

import torch
from torch import Tensor

# ImageNet's channel statistics in RGB, 0..1: the scale that pretrained ResNets expect. The authors' code only subtracts
# a BGR mean; for networks trained from scratch, batch normalisation makes that the same.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(images: Tensor) -> Tensor:
    """RGB bytes (B, 3, H, W) scaled to about mean 0 and variance 1, with the same device and memory format.

    The result has torch's default dtype: float32, except in tests that compute in float64.
    """
    mean = torch.tensor(MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=images.device).view(1, 3, 1, 1)
    return (images.to(mean.dtype) / 255 - mean) / std
