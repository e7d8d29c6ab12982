"""Optimizer and learning rate of one training."""

from collections.abc import Iterable

import torch
from torch import nn

from intra_search.config.training import TrainingSettings


def build_optimizer(parameters: Iterable[nn.Parameter], settings: TrainingSettings) -> torch.optim.Optimizer:
    """SGD with momentum as in the authors' code, or AdamW; the same options for all parameters.

    AdamW is fused, one pass over all weights: else it takes a tenth of a small student's step (measured).
    Torch's fused SGD cannot begin with some weights later than with others, as terms with a `start` do."""
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
    return torch.optim.SGD(
        parameters,
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )


def learning_rate(settings: TrainingSettings, epoch: int, step: int, steps_per_epoch: int) -> float:
    """Poly schedule: base * (1 - progress) ** power. Progress, in [0, 1), changes at each epoch or at each step.

    `epoch` counts finished epochs, `step` finished steps of this epoch. The authors' code changes it at each epoch.
    """
    within = step / steps_per_epoch if settings.schedule_step == "step" else 0.0
    progress = (epoch + within) / settings.epochs
    return float(settings.learning_rate * (1.0 - progress) ** settings.poly_power)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
