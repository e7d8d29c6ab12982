"""The processes that share each batch of a training."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


def _unchanged(tensor: Tensor) -> Tensor:
    return tensor


class Workers(NamedTuple):
    """The processes that share a training's batches, seen from one of them."""

    rank: int
    """Number of this process, 0 to size - 1."""
    size: int
    all_reduce: Callable[[Tensor], Tensor]
    """Sum of a tensor over all processes; may write into the tensor. All must call it in the same order."""


ALONE = Workers(0, 1, _unchanged)
"""A training in one process."""


class Gathered(NamedTuple):
    """The images of all workers, in order of rank."""

    values: Tensor
    """(B of all workers, ...): gradient flows to this worker's own images only."""
    own: slice
    """This worker's images."""


def gathered(values: Tensor, workers: Workers) -> Gathered:
    """The values of all workers joined along the first dimension (images). Their numbers of images may differ."""
    if workers.size == 1:
        return Gathered(values, slice(0, len(values)))
    counts = torch.zeros(workers.size, dtype=torch.long, device=values.device)
    counts[workers.rank] = len(values)
    numbers = workers.all_reduce(counts).tolist()
    start = sum(numbers[: workers.rank])
    own = slice(start, start + len(values))
    everything = values.new_zeros(sum(numbers), *values.shape[1:])
    everything[own] = values.detach()
    everything = workers.all_reduce(everything)
    return Gathered(torch.cat([everything[: own.start], values, everything[own.stop :]]), own)


def own_share(values_B: Tensor, own: slice) -> Tensor:
    """A scalar with the value of the sum over this worker's images, but the gradient of the sum over all images.

    Where images are compared with each other, the losses of other workers' images also depend on this worker's
    features. So each worker computes all losses and their gradient at its own features; added over workers, these are
    the gradient of the whole batch.
    """
    total = values_B.sum()
    return values_B[own].sum().detach() + (total - total.detach())
