"""Two workers with unequal shares normalise as one process with the whole batch does."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.testing import assert_close

from intra_search.training.batch_norm import over_workers
from tests.distributed.two_processes import run_in_two


def layer_and_batch() -> tuple[nn.BatchNorm2d, Tensor]:
    generator = torch.Generator().manual_seed(3)
    layer = nn.BatchNorm2d(4, dtype=torch.float32)
    with torch.no_grad():
        layer.weight.copy_(torch.rand(4, generator=generator) + 0.5)
        layer.bias.copy_(torch.rand(4, generator=generator))
    # A mean far from zero, where sums of squares would lose digits.
    return layer, torch.randn(5, 4, 3, 6, generator=generator) * 0.5 + 30.0


def on_worker(rank: int) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
    layer, batch = layer_and_batch()
    twin = over_workers(nn.Sequential(layer), torch.device("cpu"))
    mine = batch[:2].clone() if rank == 0 else batch[2:].clone()
    mine.requires_grad_()
    output = twin(mine)
    (output.square() * torch.arange(1.0, 5.0).view(1, 4, 1, 1)).sum().backward()
    assert mine.grad is not None
    assert layer.weight.grad is not None
    return output.detach(), mine.grad, layer.weight.grad, twin.state_dict()


def test_two_workers_equal_one(tmp_path: Path) -> None:
    layer, batch = layer_and_batch()
    batch.requires_grad_()
    output = layer(batch)
    (output.square() * torch.arange(1.0, 5.0).view(1, 4, 1, 1)).sum().backward()
    assert batch.grad is not None
    first, second = run_in_two(on_worker, tmp_path)
    assert_close(torch.cat([first[0], second[0]]), output.detach(), rtol=1e-4, atol=1e-4)
    assert_close(torch.cat([first[1], second[1]]), batch.grad, rtol=1e-3, atol=1e-4)
    assert_close(first[2] + second[2], layer.weight.grad, rtol=1e-4, atol=1e-3)
    expected = {f"0.{name}": value for name, value in layer.state_dict().items()}
    for state in (first[3], second[3]):
        assert_close(state, expected, rtol=1e-5, atol=1e-5)


def test_on_a_gpu_it_is_torchs_own_under_the_same_names() -> None:
    """The conversion needs no GPU; a checkpoint of one device loads on the other."""
    plain = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4)))
    names = list(plain.state_dict())
    converted = over_workers(plain, torch.device("cuda"))
    layers = [module for module in converted.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert [type(layer) for layer in layers] == [nn.SyncBatchNorm, nn.SyncBatchNorm]
    assert list(converted.state_dict()) == names
