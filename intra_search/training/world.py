"""The workers of one training: how many, which one is this, and sums over all of them."""

from typing import NamedTuple

import torch.distributed as dist
from torch import Tensor


class World(NamedTuple):
    """One worker's place in its training. `ALONE` is the training of one worker."""

    rank: int
    size: int

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Sum over the workers, in place; the tensor itself for one worker."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor


ALONE = World(rank=0, size=1)


def current_world() -> World:
    """The place given by torch.distributed where it is initialised."""
    if dist.is_available() and dist.is_initialized():
        return World(dist.get_rank(), dist.get_world_size())
    return ALONE
