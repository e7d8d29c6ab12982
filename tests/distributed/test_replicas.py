"""Workers whose weights or buffers drift apart are noticed."""

from pathlib import Path

import pytest
import torch
from torch import nn

from intra_search.distill.workers import ALONE
from intra_search.training.replicas import check_replicas, current_workers, describe_workers
from tests.distributed.two_processes import run_in_two


def differing(rank: int) -> str:
    torch.manual_seed(0)
    convolution, norm = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last), nn.BatchNorm2d(4)
    assert convolution.bias is not None
    assert norm.running_var is not None
    network = nn.Sequential(convolution, norm)
    check_replicas(network, current_workers())
    with torch.no_grad():
        # The sum stays the same: a check of sums would see nothing.
        convolution.bias.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]).roll(rank))
    with pytest.raises(RuntimeError, match=r"the 2 workers' networks differ in 1 of 7 tensors, first in 0\.bias"):
        check_replicas(network, current_workers())
    with torch.no_grad():
        convolution.bias.fill_(1.0)
        norm.running_var[2] += 1e-7 * rank
    with pytest.raises(RuntimeError, match=r"1 of 7 tensors, first in 1\.running_var"):
        check_replicas(network, current_workers())
    return describe_workers(current_workers())[0]


def test_drifting_replicas_are_noticed(tmp_path: Path) -> None:
    first, second = run_in_two(differing, tmp_path)
    assert first == second
    assert first.startswith("2 workers: pid ")


def test_one_worker_has_nobody_to_differ_from() -> None:
    check_replicas(nn.Linear(2, 1), ALONE)
    assert describe_workers(ALONE) == []
