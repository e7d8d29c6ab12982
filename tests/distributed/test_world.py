"""Workers whose weights drift apart are noticed."""

from pathlib import Path

import pytest
import torch
from torch import nn

from intra_search.training.world import ALONE, check_replicas, current_world, describe_workers
from tests.distributed.two_processes import run_in_two


def differing(rank: int) -> str:
    network = nn.Linear(2, 1)
    with torch.no_grad():
        network.weight.fill_(1.0)
        network.bias.fill_(0.0)
    check_replicas(network, current_world())
    with torch.no_grad():
        network.bias += 0.25 * rank
    with pytest.raises(RuntimeError, match=r"the 2 workers' weights differ by up to 0.25"):
        check_replicas(network, current_world())
    return describe_workers(current_world())[0]


def test_drifting_replicas_are_noticed(tmp_path: Path) -> None:
    first, second = run_in_two(differing, tmp_path)
    assert first == second
    assert first.startswith("2 workers: pid ")


def test_one_worker_has_nobody_to_differ_from() -> None:
    check_replicas(nn.Linear(2, 1), ALONE)
    assert describe_workers(ALONE) == []
