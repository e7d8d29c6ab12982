"""Vectors divided by their length, accurately at every scale."""

import torch
from torch import Tensor


def unit(vectors: Tensor, dim: int) -> Tensor:
    """Vectors along `dim` divided by their length; a zero vector stays zero.

    No epsilon is added, which would distort small vectors. Instead each vector is first divided by its largest entry:
    so squares of entries around 1e-12 (the variance of features of 1e-6) or 1e8 neither underflow nor overflow.
    """
    info = torch.finfo(vectors.dtype)
    scale = vectors.detach().abs().amax(dim=dim, keepdim=True)
    nonzero = scale > info.tiny / info.eps
    # The result does not depend on this scale, so the scale may be detached.
    scaled = torch.where(nonzero, vectors / torch.where(nonzero, scale, 1), 0)
    length = torch.where(nonzero, scaled.square().sum(dim=dim, keepdim=True), 1).sqrt()
    return scaled / length


def full_precision(tensor: Tensor) -> Tensor:
    """Float16 and bfloat16 as float32: losses are not computed in the network's autocast type."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
