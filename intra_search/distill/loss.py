"""The student loss: the task's cross-entropy plus the weighted terms, averaged over the global batch."""

# B images, K classes, H W label height and width

import contextlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from intra_search.config.distill import DistillSettings
from intra_search.config.training import TrainingSettings
from intra_search.distill.existence import existence_loss
from intra_search.distill.needs import Need
from intra_search.distill.term import RelationTerm, Term, TermContext, TermResult
from intra_search.distill.terms.table import TERMS
from intra_search.distill.weighting import GradientNorms, Measured, scheduled_weight
from intra_search.distill.workers import Workers
from intra_search.errors import SettingError
from intra_search.networks.output import EXISTENCE, NetworkOutput
from intra_search.scenes.labels import IGNORED


class StudentLossResult(NamedTuple):
    """The loss of one step."""

    loss: Tensor
    """Scalar to call `backward` on. Averaged over workers, as in DDP, its gradient is that of the global batch."""
    parts: dict[str, Tensor]
    """`ce`, `existence` and each term that counts in this step, unweighted and detached: this worker's share. The sum
    over workers is the value of the global batch."""
    weights: dict[str, Tensor]
    """Factor on each of those terms, with schedule and balance; the same on all workers."""


def active_terms(settings: DistillSettings) -> tuple[str, ...]:
    """Names of the terms with a weight above 0: only these are built."""
    return tuple(name for name in TERMS if settings.enabled and getattr(settings, name).weight > 0)


def terms_at(settings: DistillSettings, progress: float) -> tuple[str, ...]:
    """Names of the terms that count when the share `progress`, 0 to 1, of the training is done."""
    return tuple(name for name in active_terms(settings) if scheduled_weight(getattr(settings, name), progress) > 0)


def needs_of(settings: DistillSettings, progress: float | None = None) -> frozenset[Need]:
    """What a training under these settings asks of the teacher, at any time or when the share `progress` is done; empty
    when it needs no teacher."""
    names = active_terms(settings) if progress is None else terms_at(settings, progress)
    return frozenset(need for name in names for need in TERMS[name].needs_of(settings))


def changes_over_time(settings: DistillSettings) -> bool:
    """Whether some term counts in a part of the training only, so that steps differ in what they compute."""
    groups = (getattr(settings, name) for name in active_terms(settings))
    return any(group.start > 0 or group.ramp > 0 or group.decay > 0 for group in groups)


class StudentLoss(nn.Module):
    """Cross-entropy, the existence loss (for networks with that branch) and the terms with a weight above 0.

    Its parameters are the terms' adapters, which train with the student but are not part of it. `norms` holds what has
    been measured for `distill.balance`. So its `state_dict` must be saved in checkpoints.

    Args:
        distill: layers, terms and their weights.
        training: class weights of the cross-entropy.
        num_classes: K, the ignored class included when it is trained.
        ignored_class: whether the last class is the data set's ignored pixels (`scenes.ignored_class`).
        student_channels: `feature_channels` of the student.
        teacher_channels: `feature_channels` of the teacher; may be empty when no term asks the teacher.

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
        names = active_terms(distill)
        self._distill = distill
        self._existence_weight = training.existence_weight
        self.terms = nn.ModuleDict({name: TERMS[name](distill, context) for name in names})
        self.norms = GradientNorms(names, distill.balance_every)
        self._first_epoch = 1 / training.epochs
        class_weights = torch.ones(num_classes)
        class_weights[0] = training.background_weight
        if ignored_class:
            class_weights[-1] = training.ignored_class_weight
        self.register_load_state_dict_pre_hook(_with_norms)  # type: ignore[no-untyped-call]
        # Made from the settings, so it need not be saved.
        self.register_buffer("class_weights", class_weights, persistent=False)

    def needs(self) -> frozenset[Need]:
        """What the active terms ask of the teacher."""
        return needs_of(self._distill)

    def forward(
        self,
        student: NetworkOutput,
        labels: Tensor,
        answers: Mapping[str, Tensor],
        workers: Workers,
        *,
        progress: float = 0.0,
        existence: Tensor | None = None,
        regions: Tensor | None = None,
    ) -> StudentLossResult:
        """Loss of one step.

        Args:
            student: output for this worker's share of the batch.
            labels: (B, H, W) integers, 255 = ignored.
            answers: the teacher's, for the same views (`teacher_answers` or stored knowledge).
            workers: the processes that share the batch. `all_reduce` is called once, once more in steps that measure
                gradients, and by terms that compare images of the batch with each other.
            progress: share of the training that is done, 0 to 1, for weights that change over time.
            existence: (B, L) flags of lanes, -1 where not known; needed by networks with an existence branch.
            regions: (B, H, W) integers that the terms take as labels: the teacher's classes for frames without labels;
                none: the labels.
        """
        results = {"ce": cross_entropy(student.logits, labels, self.class_weights)}
        if EXISTENCE in student.features:
            if existence is None:
                raise ValueError("the network has an existence branch: pass the flags of its lanes to the student loss")
            results[EXISTENCE] = existence_loss(student.features[EXISTENCE], existence)
        for name in terms_at(self._distill, progress):
            term = self.terms[name]
            if isinstance(term, RelationTerm):
                results[name] = term.related(student, answers, workers)
            else:
                results[name] = term(student, answers, labels if regions is None else regions)
        values = _shares(results, workers)
        weights = self._weights(values, student, workers, progress)
        # The factor undoes DDP's division of the summed gradients by the number of workers.
        loss = workers.size * values["ce"]
        if EXISTENCE in values:
            loss = loss + workers.size * self._existence_weight * values[EXISTENCE]
        for name, weight in weights.items():
            loss = loss + workers.size * weight.to(values[name].dtype) * values[name]
        return StudentLossResult(loss, {name: value.detach() for name, value in values.items()}, weights)

    def measures(self, progress: float) -> bool:
        """Whether a training step at this progress measures gradients; they are seen at features of a network that is
        not compiled."""
        balanced = self._distill.balance == "gradient" or progress < self._first_epoch
        return self.training and balanced and self.norms.due(terms_at(self._distill, progress))

    def pulls(self) -> dict[str, float]:
        """How hard each term pulls at its student feature, in multiples of the task's gradient, before its schedule.

        With `balance = "none"` it is what was measured in the first epoch. Waits for the device."""
        balanced = self._distill.balance == "gradient"
        ratios = self.norms.ratios()
        weights = {name: getattr(self._distill, name).weight for name in self.terms}
        return {name: weight if balanced else weight / float(ratios[name]) for name, weight in weights.items()}

    def _weights(
        self,
        values: Mapping[str, Tensor],
        student: NetworkOutput,
        workers: Workers,
        progress: float,
    ) -> dict[str, Tensor]:
        names = terms_at(self._distill, progress)
        scheduled = {name: scheduled_weight(getattr(self._distill, name), progress) for name in names}
        balanced = self._distill.balance == "gradient"
        if self.measures(progress) and torch.is_grad_enabled():
            measured = {name: Measured(values[name], _anchor(self.terms[name], student)) for name in names}
            # Without balance, the norms only tell of terms that drown the task.
            with contextlib.nullcontext() if balanced else contextlib.suppress(SettingError):
                self.norms.measure(values["ce"], measured, workers.all_reduce)
        if self.training:
            self.norms.step()
        if not balanced:
            return {name: values["ce"].new_tensor(weight) for name, weight in scheduled.items()}
        ratios = self.norms.ratios()
        return {name: weight * ratios[name] for name, weight in scheduled.items()}


def _with_norms(student_loss: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Gives the state of an older checkpoint the norms that it lacks; with `balance` it had sums over its steps."""
    if f"{prefix}norms.squares" in state:
        return
    norms = student_loss.get_submodule("norms")
    assert isinstance(norms, GradientNorms)
    steps = int(state.pop(f"{prefix}balance.steps", torch.tensor(0)))
    sums = state.pop(f"{prefix}balance.squares", norms.squares)
    state[f"{prefix}norms.squares"] = sums / max(steps, 1)
    counts = dict.fromkeys(norms.get_extra_state()["counts"], steps)
    state[f"{prefix}norms._extra_state"] = {"steps": steps, "counts": counts}


def _shares(results: Mapping[str, TermResult], workers: Workers) -> dict[str, Tensor]:
    """This worker's share of each global value: its own sums divided by the counts of all workers."""
    counts = torch.cat([result.counts.detach().double() for result in results.values()])
    totals = torch.split(workers.all_reduce(counts), [len(result.counts) for result in results.values()])
    shares: dict[str, Tensor] = {}
    for (name, result), total in zip(results.items(), totals, strict=True):
        # If the count is 0, the sum is 0 as well; it stays attached to the graph.
        shares[name] = (result.sums / torch.where(total > 0, total, 1).to(result.sums.dtype)).sum()
    return shares


def _anchor(term: nn.Module, student: NetworkOutput) -> Tensor:
    assert isinstance(term, Term)
    return student.logits if term.anchor == "logits" else student.features[term.anchor]


def cross_entropy(logits: Tensor, labels: Tensor, class_weights: Tensor) -> TermResult:
    """Weighted cross-entropy: sum of weighted losses over valid pixels, and sum of the weights; each (1,)."""
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
