"""How long one step of a network takes."""

import time
from collections.abc import Callable

import torch


def quickest(step: Callable[[], object], device: torch.device, *, budget: float, max_runs: int | None = None) -> float:
    """Seconds of the quickest of several runs of `step`: the first ones warm up, and other processes delay some.

    Args:
        device: where the step computes; a GPU's work is waited for.
        budget: runs are repeated until they took this many seconds together, so a slow step runs once.
        max_runs: runs at most; none: as many as the budget allows.
    """
    seconds: list[float] = []
    while not seconds or (sum(seconds) < budget and len(seconds) != max_runs):
        started = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds)
