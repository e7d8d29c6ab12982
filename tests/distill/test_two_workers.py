"""Two gloo processes equal one: loss, parts and every gradient, adapters included; one worker has no region at all.

Each process runs this file as a script; the same function gives the reference in the test's own process.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from intra_search.config.parsing import with_overrides
from intra_search.config.study import StudySettings
from intra_search.distill.loss import StudentLoss, StudentLossResult
from intra_search.distill.needs import teacher_answers
from intra_search.distill.terms.table import TERMS
from intra_search.distill.workers import Workers
from intra_search.networks import NetworkOutput, build_network

K = 4
TEACHER_CHANNELS = {"block2": 6, "block3": 7}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "balanced": {"balance": "gradient"},
    "other losses": {
        "affinity.masks": "soft",
        "affinity.absent": "counted",
        "affinity.variant": "sketch",
        "cwd.on": "features",
        "irg.transformation_weight": 1.0,
        "dks.blocks": ["block2", "block3"],
    },
}
"""Options of the terms, all of which are on."""
SHARES = {1: [slice(0, 4)], 2: [slice(0, 3), slice(3, 4)]}


class Step(nn.Module):
    def __init__(self, rank: int, world_size: int, variant: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        # In eval mode: tests/distributed tests BatchNorm over the global batch.
        self.network = build_network("erfnet", K, width=0.25, blocks=(1, 1)).eval()
        overrides: dict[str, Any] = {f"distill.{name}.weight": 0.5 for name in TERMS}
        overrides |= {"distill.layers": [["block2", "block2"], ["block3", "block3"]]}
        overrides |= {f"distill.{path}": value for path, value in VARIANTS[variant].items()}
        settings = with_overrides(StudySettings(), overrides)
        self.student_loss = StudentLoss(
            settings.distill,
            settings.training,
            num_classes=K,
            ignored_class=False,
            student_channels=cast(dict[str, int], self.network.feature_channels),
            teacher_channels=TEACHER_CHANNELS,
        )
        self.rank = rank
        self.world_size = world_size

    def forward(self, images: Tensor, labels: Tensor, answers: dict[str, Tensor]) -> StudentLossResult:
        result: StudentLossResult = self.student_loss(
            self.network(images),
            labels,
            answers,
            Workers(self.rank, self.world_size, all_reduce),
            progress=0.5,
        )
        return result


def all_reduce(tensor: Tensor) -> Tensor:
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def run(rank: int, world_size: int, variant: str) -> dict[str, Tensor]:
    """One step; gradients, parts and weights."""
    step = Step(rank, world_size, variant).double()
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(4, 3, 32, 48, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, K, (4, 32, 48), generator=generator)
    labels[3] = 255
    features = {
        name: torch.randn(4, channels, 4, 6, generator=generator) for name, channels in TEACHER_CHANNELS.items()
    }
    teacher = NetworkOutput(torch.randn(4, K, 32, 48, generator=generator), features)
    answers = teacher_answers(step.student_loss.needs(), teacher, labels, K)
    own = SHARES[world_size][rank]
    module = DistributedDataParallel(step) if world_size > 1 else step
    result = module(images[own], labels[own], {key: value[own] for key, value in answers.items()})
    result.loss.backward()
    found = {}
    for key, parameter in step.named_parameters():
        assert parameter.grad is not None, key
        found[f"gradient {key}"] = parameter.grad
    found |= {f"part {key}": all_reduce(value.clone()) for key, value in result.parts.items()}
    return found | {f"weight {key}": value for key, value in result.weights.items()}


def test_two_processes_equal_one(tmp_path: Path) -> None:
    expected = run_all(0, 1)
    assert sum("gradient student_loss" in key for key in expected) >= 3  # adapters
    workers = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(tmp_path)], stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors.decode()
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_close(found[key], value, rtol=1e-6, atol=1e-9, msg=f"{key}: {{}}".format)


def run_all(rank: int, world_size: int) -> dict[str, Tensor]:
    """One step of every variant."""
    return {f"{variant}: {key}": value for variant in VARIANTS for key, value in run(rank, world_size, variant).items()}


if __name__ == "__main__":
    own_rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=own_rank, world_size=2)
    torch.save(run_all(own_rank, 2), folder / f"{own_rank}.pt")
    dist.destroy_process_group()
