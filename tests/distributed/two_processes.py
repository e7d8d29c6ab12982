"""Runs a function in two gloo processes on this machine, as two workers of one training would be."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn


def run_in_two(function: Callable[..., Any], folder: Path, *arguments: Any) -> list[Any]:
    """Calls `function(rank, *arguments)` in two processes and returns both results, by rank."""
    spawn(_entry, (function, str(folder), arguments), nprocs=2)
    return [torch.load(folder / f"result-{rank}.pt", weights_only=False) for rank in range(2)]


def _entry(rank: int, function: Callable[..., Any], folder: str, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    try:
        torch.save(function(rank, *arguments), f"{folder}/result-{rank}.pt")
        dist.barrier()
    finally:
        dist.destroy_process_group()
