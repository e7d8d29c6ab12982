"""The workers of one training: how many, which one is this, and sums over all of them."""

import os
import socket
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn


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


def describe_workers(world: World) -> list[str]:
    """One line that names every worker's process; none for a training of one."""
    if world.size == 1:
        return []
    names: list[str] = [""] * world.size
    dist.all_gather_object(names, f"pid {os.getpid()} on {socket.gethostname()}")
    return [f"{world.size} workers: {', '.join(names)}"]


def check_replicas(network: nn.Module, world: World) -> None:
    """Raises `RuntimeError` unless all workers hold the same weights, to the bit: a guard on the summed gradients."""
    if world.size == 1:
        return
    sums = torch.stack([parameter.detach().double().sum() for parameter in network.parameters()])
    highest, lowest = sums.clone(), sums.clone()
    dist.all_reduce(highest, dist.ReduceOp.MAX)
    dist.all_reduce(lowest, dist.ReduceOp.MIN)
    if not torch.equal(highest, lowest):
        raise RuntimeError(f"the {world.size} workers' weights differ by up to {float((highest - lowest).max()):.3g}")


def current_world() -> World:
    """The place given by torch.distributed where it is initialised."""
    if dist.is_available() and dist.is_initialized():
        return World(dist.get_rank(), dist.get_world_size())
    return ALONE
