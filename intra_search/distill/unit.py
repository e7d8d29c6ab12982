"""Vectors of length one, whatever their scale."""

import torch
from torch import Tensor


def unit(vectors: Tensor, dim: int) -> Tensor:
    """Vectors along `dim` divided by their length; a zero vector stays zero.

    There is no absolute epsilon to swallow small vectors: each is divided by its largest entry before squares are
    taken, so that entries around 1e-12 (the variance of features of 1e-6) or 1e8 neither underflow nor overflow.
    """
    info = torch.finfo(vectors.dtype)
    scale = vectors.detach().abs().amax(dim=dim, keepdim=True)
    nonzero = scale > info.tiny / info.eps
    # The length does not depend on this scale, so it may be detached.
    scaled = torch.where(nonzero, vectors / torch.where(nonzero, scale, 1), 0)
    length = torch.where(nonzero, scaled.square().sum(dim=dim, keepdim=True), 1).sqrt()
    return scaled / length


def full_precision(tensor: Tensor) -> Tensor:
    """Float32 for anything narrower: losses are not computed in what autocast chose for the network."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
