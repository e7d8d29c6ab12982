"""The workers of one training: how many, which one is this, and sums over all of them."""

import hashlib
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


def check_agreed(what: str, value: object, world: World) -> None:
    """Raises `RuntimeError` unless all workers have the same value."""
    if world.size == 1:
        return
    values: list[object] = [None] * world.size
    dist.all_gather_object(values, value)
    if len(set(values)) > 1:
        raise RuntimeError(f"the {world.size} workers differ in {what}: {', '.join(map(str, values))}")


def check_replicas(network: nn.Module, world: World) -> list[str]:
    """Raises `RuntimeError` unless all workers hold the same weights and buffers, to the bit: a guard on the summed
    gradients and the global BatchNorm. Costs a copy to the host and a checksum of it, 24 ms for ERFNet's 8 MB.

    Returns one line with each worker's checksum of all; none for a training of one.
    """
    if world.size == 1:
        return []
    own = {name: _checksum(tensor) for name, tensor in network.state_dict().items()}
    workers: list[dict[str, bytes]] = [{}] * world.size
    dist.all_gather_object(workers, own)
    differing = [name for name in own if len({sums.get(name) for sums in workers}) > 1]
    if differing:
        where = f"{len(differing)} of {len(own)} tensors, first in {differing[0]}"
        raise RuntimeError(f"the {world.size} workers' networks differ in {where}")
    sums = [hashlib.blake2b(b"".join(worker.values()), digest_size=4).hexdigest() for worker in workers]
    return [f"weights on {world.size} workers: {', '.join(sums)}"]


def _checksum(tensor: Tensor) -> bytes:
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.blake2b(data.numpy().data, digest_size=16).digest()


def current_world() -> World:
    """The place given by torch.distributed where it is initialised."""
    if dist.is_available() and dist.is_initialized():
        return World(dist.get_rank(), dist.get_world_size())
    return ALONE
