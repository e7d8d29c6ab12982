"""Batch normalisation over the global batch, so that settings found with one worker mean the same with eight.

On GPUs torch's `SyncBatchNorm` does it. That raises an error on CPUs, where `GlobalBatchNorm2d` takes its place.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

# B images, C channels, H W height and width


def over_workers(network: nn.Module, device: torch.device) -> nn.Module:
    """The network with every `BatchNorm2d` replaced by one over all workers. Names in the state dict do not change."""
    if device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return converted
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = GlobalBatchNorm2d  # same parameters and buffers, another forward
    return network


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """`BatchNorm2d` whose statistics, and their gradients, are summed over the workers by all-reduce.

    Workers may hold unequal numbers of images. It takes two all-reduces, first of the mean, then of the squares around
    it: one, of sums and of squares, would lose digits by cancellation. Running statistics are as in torch: unbiased
    variance of the global batch. In eval mode it is `BatchNorm2d`.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        x_BCHW = input.to(torch.promote_types(input.dtype, torch.float32))
        per_channel = x_BCHW.new_tensor([x_BCHW.numel() / x_BCHW.shape[1]])
        totals = _sum_over_workers(torch.cat([x_BCHW.sum(dim=(0, 2, 3)), per_channel]))
        count = totals[-1].detach()
        if count <= 1:
            raise ValueError(f"Expected more than 1 value per channel over all workers when training, got {count:.0f}")
        mean_C = totals[:-1] / count
        centred_BCHW = x_BCHW - mean_C.view(1, -1, 1, 1)
        variance_C = _sum_over_workers(centred_BCHW.square().sum(dim=(0, 2, 3))) / count
        self._update_running(mean_C.detach(), variance_C.detach(), count)
        scale_C = torch.rsqrt(variance_C + self.eps)
        normal_BCHW = centred_BCHW * scale_C.view(1, -1, 1, 1)
        if self.affine:
            normal_BCHW = normal_BCHW * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return normal_BCHW.to(input.dtype)

    @torch.no_grad()
    def _update_running(self, mean_C: Tensor, variance_C: Tensor, count: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        momentum = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean_C, momentum)
        self.running_var.lerp_(variance_C * count / (count - 1), momentum)


class _SumOverWorkers(torch.autograd.Function):
    """All-reduce whose gradient is all-reduced, too: every worker's loss depends on every worker's input."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def _sum_over_workers(tensor: Tensor) -> Tensor:
    total: Tensor = _SumOverWorkers.apply(tensor)
    return total
