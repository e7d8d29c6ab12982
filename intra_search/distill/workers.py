"""The workers that share a batch, as losses see them."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


def _alone(tensor: Tensor) -> Tensor:
    return tensor


class Workers(NamedTuple):
    """How many processes share the global batch, and how they add tensors up."""

    all_reduce: Callable[[Tensor], Tensor] = _alone
    """Sum of a tensor over workers; all must call it alike."""
    world_size: int = 1
    rank: int = 0


ALONE = Workers()


class Gathered(NamedTuple):
    """The images of all workers, in order of rank."""

    values: Tensor
    """(B of all workers, ...): gradient flows to this worker's own images only."""
    own: slice
    """Where this worker's images are."""


def gathered(values: Tensor, workers: Workers) -> Gathered:
    """Brings the images (the first dimension) of all workers together; workers may hold different numbers of them."""
    if workers.world_size == 1:
        return Gathered(values, slice(0, len(values)))
    counts = torch.zeros(workers.world_size, dtype=torch.long, device=values.device)
    counts[workers.rank] = len(values)
    numbers = workers.all_reduce(counts).tolist()
    start = sum(numbers[: workers.rank])
    own = slice(start, start + len(values))
    everything = values.new_zeros(sum(numbers), *values.shape[1:])
    everything[own] = values.detach()
    everything = workers.all_reduce(everything)
    return Gathered(torch.cat([everything[: own.start], values, everything[own.stop :]]), own)


def own_share(values_B: Tensor, own: slice) -> Tensor:
    """Sum over this worker's images in value, and over all images in gradient; a scalar.

    Where images are compared with each other, the losses of other workers' images depend on this worker's features,
    too. Each worker computes them all and differentiates by its own: added up, that is the gradient of the whole.
    """
    total = values_B.sum()
    return values_B[own].sum().detach() + (total - total.detach())
