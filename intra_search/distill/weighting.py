"""Weights of terms: how they change over time, and how they are scaled by the task's gradient."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from intra_search.config.distill import TermSettings
from intra_search.errors import SettingError

logger = logging.getLogger(__name__)

MAX_RATIO = 1e8
"""Limits the factor of a term whose gradient is only rounding error (for example if all regions are alike)."""


def scheduled_weight(settings: TermSettings, progress: float) -> float:
    """Weight of a term when the share `progress`, 0 to 1, of the training is done."""
    if settings.schedule == "warmup":
        return settings.weight * min(1.0, progress / settings.ramp)
    if settings.schedule == "cosine":
        return settings.weight * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return settings.weight


class Measured(NamedTuple):
    """A term's value, and the student feature at which its gradient is compared with the task's."""

    value: Tensor
    anchor: Tensor


class GradientBalance(nn.Module):
    """Ratios |gradient of the task loss| / |gradient of the term|, both at the term's student feature.

    Squared norms are summed over workers and over the first `num_steps` training steps; then the ratios stay as they
    are. The first step already uses its own measurement. The sums are buffers, so a resumed training keeps them. While
    measuring, each term costs a backward pass from the losses to the feature; afterwards nothing.
    """

    squares: Tensor
    steps: Tensor

    def __init__(self, names: Sequence[str], num_steps: int) -> None:
        super().__init__()
        self._names = tuple(names)
        self._num_steps = num_steps
        self._may_measure = True
        self.register_buffer("squares", torch.zeros(2, len(self._names), dtype=torch.float64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def measure(self, task: Tensor, terms: Mapping[str, Measured], all_reduce: Callable[[Tensor], Tensor]) -> None:
        """Adds one training step's gradients; does nothing in evaluation or when all steps are measured.

        Args:
            task: this worker's share of the task loss, attached to the graph.
            terms: by the names given at construction.
            all_reduce: sum over workers; called once while measuring.
        """
        # The count lies on the device. It is read only while measuring, since reading makes the GPU wait.
        if not (self._may_measure and self.training and torch.is_grad_enabled()):
            return
        self._may_measure = int(self.steps) < self._num_steps
        if not self._may_measure:
            return
        task_T = torch.stack([_squared_norm(task, name, terms[name].anchor) for name in self._names])
        terms_T = torch.stack([_squared_norm(terms[name].value, name, terms[name].anchor) for name in self._names])
        self.squares += all_reduce(torch.stack([task_T, terms_T]))
        self.steps += 1
        if int(self.steps) == self._num_steps:
            text = ", ".join(f"{name} {ratio:.3g}" for name, ratio in self.ratios().items())
            logger.info("Weights in units of the task's gradient after %d steps: %s", self._num_steps, text)

    def ratios(self) -> dict[str, Tensor]:
        """Ratios by name; 1 for a term that has had no gradient yet."""
        task_T, terms_T = self.squares
        ratio_T = torch.where(terms_T > 0, task_T / torch.where(terms_T > 0, terms_T, 1), 1).sqrt()
        return dict(zip(self._names, ratio_T.clamp_max(MAX_RATIO).unbind(), strict=True))


def _squared_norm(value: Tensor, name: str, anchor: Tensor) -> Tensor:
    gradient = None
    if anchor.requires_grad:
        (gradient,) = torch.autograd.grad(value, [anchor], retain_graph=True, allow_unused=True)
    if gradient is None:
        rule = '"gradient" must see the gradient at the student\'s features'
        remedy = 'switch training.compile off (a compiled network hides it), or set distill.balance = "none"'
        raise SettingError("distill.balance", rule, f"none for the term {name}", remedy)
    return gradient.double().square().sum()
