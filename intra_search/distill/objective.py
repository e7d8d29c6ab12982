"""The objective: the task's cross-entropy plus the weighted terms, divided by counts over the global batch."""

# B images, K classes, H W label height and width

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from intra_search.config.settings import DistillSettings, TrainingSettings
from intra_search.distill.needs import Need
from intra_search.distill.regions import IGNORED
from intra_search.distill.term import TermContext, TermResult
from intra_search.distill.terms.table import TERMS
from intra_search.errors import SettingError
from intra_search.networks.output import NetworkOutput


class ObjectiveResult(NamedTuple):
    """What one step yields."""

    loss: Tensor
    """Scalar to call `backward` on. Its gradient, averaged over workers as DDP does, is that of the global batch."""
    parts: dict[str, Tensor]
    """`ce` and each term, unweighted and detached: this worker's share of the global value (add over workers)."""


def weight_of(settings: DistillSettings, name: str) -> float:
    """Weight of one term; 0 when distillation is off."""
    weight: float = getattr(settings, name).weight
    return weight if settings.enabled else 0.0


def active_terms(settings: DistillSettings) -> tuple[str, ...]:
    """Names of the terms that are built: those with weight above 0."""
    return tuple(name for name in TERMS if weight_of(settings, name) > 0)


def needs_of(settings: DistillSettings) -> frozenset[Need]:
    """What a training under these settings asks of the teacher; empty when it needs no teacher."""
    return frozenset(need for name in active_terms(settings) for need in TERMS[name].needs_of(settings))


class Objective(nn.Module):
    """Cross-entropy plus terms. Only terms with weight above 0 are built.

    Args:
        distill: layers, terms and their weights.
        training: class weights of the cross-entropy.
        num_classes: K, the ignored class included when it is trained.
        ignored_class: whether the last class is the data set's ignored pixels (`scenes.ignored_class`).
        student_channels: `feature_channels` of the student.
        teacher_channels: `feature_channels` of the teacher; may be empty when no term is active.

    Raises `SettingError` for a layer that a network does not have.
    """

    class_weights: Tensor

    def __init__(
        self,
        distill: DistillSettings,
        training: TrainingSettings,
        *,
        num_classes: int,
        ignored_class: bool,
        student_channels: Mapping[str, int],
        teacher_channels: Mapping[str, int],
    ) -> None:
        super().__init__()
        context = TermContext(num_classes, dict(student_channels), dict(teacher_channels))
        self._needs = needs_of(distill)
        self.weights = {name: weight_of(distill, name) for name in active_terms(distill)}
        self.terms = nn.ModuleDict({name: TERMS[name](distill, context) for name in self.weights})
        class_weights = torch.ones(num_classes)
        class_weights[0] = training.background_weight
        if ignored_class:
            class_weights[-1] = training.ignored_class_weight
        # Comes from the settings, so it is not part of the state.
        self.register_buffer("class_weights", class_weights, persistent=False)

    def needs(self) -> frozenset[Need]:
        """What the active terms ask of the teacher."""
        return self._needs

    def forward(
        self,
        student: NetworkOutput,
        labels: Tensor,
        answers: Mapping[str, Tensor],
        *,
        all_reduce: Callable[[Tensor], Tensor],
        world_size: int,
    ) -> ObjectiveResult:
        """Loss of one step.

        Args:
            student: output for this worker's share of the batch.
            labels: (B, H, W) integers, 255 = ignored.
            answers: the teacher's, for the same views (`teacher_answers` or stored knowledge).
            all_reduce: sum of a tensor over workers; called once. The identity for one worker.
            world_size: number of workers.
        """
        results = {"ce": cross_entropy(student.logits, labels, self.class_weights)}
        for name, term in self.terms.items():
            results[name] = term(student, answers, labels)
        counts = torch.cat([result.counts.detach().double() for result in results.values()])
        sizes = [len(result.counts) for result in results.values()]
        total_counts = torch.split(all_reduce(counts), sizes)
        loss = student.logits.new_zeros((), dtype=torch.promote_types(student.logits.dtype, torch.float32))
        parts: dict[str, Tensor] = {}
        for (name, result), total in zip(results.items(), total_counts, strict=True):
            # Nothing counted anywhere: the sum is 0 as well, and stays attached.
            value = (result.sums / torch.where(total > 0, total, 1).to(result.sums.dtype)).sum()
            parts[name] = value.detach()
            # DDP divides the summed gradients by the number of workers, hence the factor.
            loss = loss + self.weights.get(name, 1.0) * world_size * value
        return ObjectiveResult(loss, parts)


def cross_entropy(logits: Tensor, labels: Tensor, class_weights: Tensor) -> TermResult:
    """Weighted cross-entropy: sum of weighted losses over valid pixels, and sum of their weights; each (1,)."""
    if logits.shape[0] != labels.shape[0] or logits.shape[2:] != labels.shape[1:]:
        found = f"logits {tuple(logits.shape)}, labels {tuple(labels.shape)}"
        raise SettingError(
            "cross-entropy",
            "logits (B, K, H, W) and labels (B, H, W) must match",
            found,
            "pass labels at the network's input size",
        )
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    weights = class_weights.to(logits.dtype)
    target = labels.long()
    total = nn.functional.cross_entropy(logits, target, weight=weights, ignore_index=IGNORED, reduction="sum")
    valid = target != IGNORED
    count = torch.where(valid, weights[torch.where(valid, target, 0)], 0).sum()
    return TermResult(total.reshape(1), count.reshape(1))
