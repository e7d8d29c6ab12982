"""Weights of terms: how they change over time, and how they are scaled by the task's gradient."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from intra_search.config.distill import TermSettings
from intra_search.errors import SettingError

MAX_RATIO = 1e8
"""Limits the factor of a term whose gradient is only rounding error (for example if all regions are alike)."""
MEMORY = 8
"""Measurements that an average goes back to: the mean of the first 8, then each new one counts an eighth."""


def scheduled_weight(settings: TermSettings, progress: float) -> float:
    """Weight of a term when the share `progress`, 0 to 1, of the training is done; 0 before the term begins."""
    if progress < settings.start:
        return 0.0
    risen = 1.0 if settings.ramp == 0 else min(1.0, (progress - settings.start) / settings.ramp)
    if settings.decay == 0:
        return settings.weight * risen
    decayed = max(0.0, progress - (1 - settings.decay)) / settings.decay
    return settings.weight * risen * 0.5 * (1 + math.cos(math.pi * min(1.0, decayed)))


class Measured(NamedTuple):
    """A term's value, and the student feature at which its gradient is compared with the task's."""

    value: Tensor
    anchor: Tensor


class GradientNorms(nn.Module):
    """Norms of the gradients of the task and of each term, both at the term's student feature, as a training goes on.

    Squared norms of the global batch are measured in the training steps 0, 1, 2, 4, 8, ... and then every `every`
    steps, and in the first step of a term that begins later; averages go back to the last `MEMORY` measurements. A step
    that measures uses its own measurement already. All of it is in the `state_dict`, so a resumed training goes on with
    the same weights. Cost: in a step that measures, a backward pass of the task to the earliest of those features, and
    one of each term to its own; in others nothing. (GradNorm, Chen et al. 2018, compares norms at one shared layer
    and trains the weights; here they follow from the norms.)
    """

    squares: Tensor
    """(2, T) float64: averaged squared norms of the task's and of the terms' gradients."""

    def __init__(self, names: Sequence[str], every: int) -> None:
        super().__init__()
        self._names = tuple(names)
        self._every = every
        self._steps = 0
        self._counts = dict.fromkeys(names, 0)
        self.register_buffer("squares", torch.zeros(2, len(self._names), dtype=torch.float64))

    def due(self, names: Sequence[str]) -> bool:
        """Whether the next training step measures, if the terms `names` are active in it."""
        if not names:
            return False
        step = self._steps
        early = step < self._every and step & (step - 1) == 0  # 0 and the powers of two
        return early or step % self._every == 0 or any(self._counts[name] == 0 for name in names)

    def step(self) -> None:
        """Counts a training step."""
        self._steps += 1

    def measure(self, task: Tensor, terms: Mapping[str, Measured], all_reduce: Callable[[Tensor], Tensor]) -> None:
        """Adds the gradients of one training step to the averages.

        Args:
            task: this worker's share of the task loss, attached to the graph.
            terms: the active ones, by the names given at construction.
            all_reduce: sum over workers; called once.

        Raises `SettingError` where the task or a term has no gradient at the term's feature.
        """
        anchors = {id(measured.anchor): measured.anchor for measured in terms.values()}
        of_task = dict(zip(anchors, _squared_norms(task, list(anchors.values()), "the task loss"), strict=True))
        task_T = torch.stack([of_task[id(measured.anchor)] for measured in terms.values()])
        terms_T = torch.cat([_squared_norms(value, [anchor], name) for name, (value, anchor) in terms.items()])
        measured_2T = all_reduce(torch.stack([task_T, terms_T]))
        for place, name in enumerate(terms):
            self._counts[name] += 1
            average = self.squares[:, self._names.index(name)]
            average += (measured_2T[:, place] - average) / min(self._counts[name], MEMORY)

    def ratios(self) -> dict[str, Tensor]:
        """|gradient of the task| / |gradient of the term| by name; 1 for a term that has had no gradient yet."""
        task_T, terms_T = self.squares
        ratio_T = torch.where(terms_T > 0, task_T / torch.where(terms_T > 0, terms_T, 1), 1).sqrt()
        return dict(zip(self._names, ratio_T.clamp_max(MAX_RATIO).unbind(), strict=True))

    def get_extra_state(self) -> dict[str, Any]:
        """The counters, which `state_dict` takes in. They are not tensors: reading one would make a GPU wait."""
        return {"steps": self._steps, "counts": dict(self._counts)}

    def set_extra_state(self, state: Any) -> None:
        self._steps, self._counts = state["steps"], dict(state["counts"])


def _squared_norms(value: Tensor, anchors: list[Tensor], name: str) -> Tensor:
    """(A,) float64: of the gradients of `value` at each anchor."""
    gradients: Sequence[Tensor | None] = [None]
    if value.requires_grad and all(anchor.requires_grad for anchor in anchors):
        gradients = torch.autograd.grad(value, anchors, retain_graph=True, allow_unused=True)
    found = [gradient.double().square().sum() for gradient in gradients if gradient is not None]
    if len(found) < len(gradients):
        rule = '"gradient" needs a gradient at the student\'s features'
        remedy = f'give {name} weight 0, or set distill.balance = "none"'
        raise SettingError("distill.balance", rule, f"none for {name}", remedy)
    return torch.stack(found)
