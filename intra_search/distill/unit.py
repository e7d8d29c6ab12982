"""Vectors divided by their length, accurately at every scale."""

import math

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


def less_mean(values: Tensor, mean: Tensor, dim: int) -> Tensor:
    """Values less their mean, both of one shape along `dim`; exactly 0 where what is left is only rounding error.

    Without that, `unit` would make a direction of the rounding errors of equal values.
    """
    left = values - mean
    size = torch.maximum(values.detach().abs(), mean.detach().abs()).amax(dim=dim, keepdim=True)
    told = left.detach().abs().amax(dim=dim, keepdim=True) > 32 * torch.finfo(values.dtype).eps * size
    return torch.where(told, left, 0)


def standardised(values: Tensor, dim: int) -> Tensor:
    """Values less their mean along `dim`, divided by their standard deviation: scale and offset do not matter. 0 where
    all are equal."""
    left = less_mean(values, values.mean(dim=dim, keepdim=True), dim)
    return unit(left, dim) * math.sqrt(values.shape[dim])


def full_precision(tensor: Tensor) -> Tensor:
    """Float16 and bfloat16 as float32: losses are not computed in the network's autocast type."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
