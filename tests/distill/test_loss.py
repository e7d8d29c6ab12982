"""The student loss: hand values, building, and the arithmetic that makes many workers equal one."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from intra_search.config.parsing import with_overrides
from intra_search.config.study import StudySettings
from intra_search.distill.loss import StudentLoss, StudentLossResult, cross_entropy, needs_of
from intra_search.distill.needs import GraphNeed, MapNeed, RegionForm, teacher_answers
from intra_search.distill.terms.table import TERMS
from intra_search.distill.workers import ALONE, Workers
from intra_search.errors import SettingError
from intra_search.networks import NetworkOutput

CHANNELS = {"block2": 5, "block3": 6, "block5": 7}
LAYERS = [["block2", "block3"], ["block3", "block5"]]
STRIDES = {"block2": 4, "block3": 8, "block5": 8}


def build(num_classes: int = 4, *, ignored_class: bool = False, **overrides: Any) -> StudentLoss:
    """The two terms of IntRA-KD with plain factors on the paper's layers, unless `overrides` say otherwise."""
    changes = {path.replace("__", "."): value for path, value in overrides.items()}
    settings = with_overrides(StudySettings(), {"distill.balance": "none", "distill.layers": LAYERS, **changes})
    return StudentLoss(
        settings.distill,
        settings.training,
        num_classes=num_classes,
        ignored_class=ignored_class,
        student_channels=CHANNELS,
        teacher_channels=CHANNELS,
    )


def output(seed: int, batch: int = 4) -> NetworkOutput:
    generator = torch.Generator().manual_seed(seed)
    features = {
        name: torch.randn(batch, channels, 16 // STRIDES[name], 24 // STRIDES[name], generator=generator)
        for name, channels in CHANNELS.items()
    }
    return NetworkOutput(torch.randn(batch, 4, 16, 24, generator=generator), features)


def part(network: NetworkOutput, where: slice) -> NetworkOutput:
    return NetworkOutput(network.logits[where], {name: value[where] for name, value in network.features.items()})


def draw_labels() -> Tensor:
    labels = torch.randint(0, 4, (4, 16, 24), generator=torch.Generator().manual_seed(0))
    labels[0, :8] = 255
    labels[3] = 255  # the last image has no region at all
    return labels


def run(student_loss: StudentLoss, student: NetworkOutput, teacher: NetworkOutput, labels: Tensor) -> StudentLossResult:
    answers = teacher_answers(student_loss.needs(), teacher, labels, 4)
    result: StudentLossResult = student_loss(student, labels, answers, ALONE)
    return result


def test_cross_entropy_by_hand() -> None:
    """Two valid pixels with p = 1/2: weights 0.4 and 1, each loss log 2; the ignored pixel does not count."""
    logits = torch.zeros(1, 2, 1, 3)
    sums, counts = cross_entropy(logits, torch.tensor([[[0, 1, 255]]]), torch.tensor([0.4, 1.0]))
    assert sums.item() == pytest.approx(1.4 * 0.6931472)
    assert counts.item() == pytest.approx(1.4)


def test_cross_entropy_is_torchs_weighted_mean() -> None:
    logits, labels = output(0).logits, draw_labels()
    weights = torch.tensor([0.4, 1.0, 1.0, 0.05])
    sums, counts = cross_entropy(logits, labels, weights)
    assert_close(sums / counts, torch.nn.functional.cross_entropy(logits, labels, weights, ignore_index=255).reshape(1))


def test_class_weights_follow_the_settings() -> None:
    assert build(training__background_weight=0.4).class_weights.tolist() == pytest.approx([0.4, 1, 1, 1])
    assert build(ignored_class=True).class_weights.tolist() == pytest.approx([0.4, 1, 1, 0.05])


def test_loss_is_the_weighted_sum_of_its_parts() -> None:
    student_loss = build(distill__affinity__weight=0.25, distill__attention__weight=2.0)
    result = run(student_loss, output(1), output(2), draw_labels())
    parts = {name: value.item() for name, value in result.parts.items()}
    assert set(parts) == {"ce", "affinity", "attention"}
    assert result.loss.item() == pytest.approx(parts["ce"] + 0.25 * parts["affinity"] + 2 * parts["attention"])


def test_only_what_has_weight_is_built_and_asked_for() -> None:
    student_loss = build(distill__affinity__weight=0.0)
    assert list(student_loss.terms) == ["attention"]
    assert student_loss.needs() == {MapNeed(layer, "standardised", 4.0) for layer in ("block3", "block5")}
    assert list(run(student_loss, output(1), output(2), draw_labels()).parts) == ["ce", "attention"]


def test_disabled_distillation_is_plain_training() -> None:
    student_loss = build(distill__enabled=False)
    assert not student_loss.terms
    assert not student_loss.needs()
    result = student_loss(output(1), draw_labels(), {}, ALONE)
    assert result.loss.item() == pytest.approx(result.parts["ce"].item())


def test_needs_of_the_paper_recipe() -> None:
    paper = with_overrides(StudySettings(), {"distill.preset": "paper"}).distill
    graphs = {GraphNeed(layer, order, RegionForm(5)) for layer in ("block3", "block5") for order in (1, 2, 3)}
    assert needs_of(paper) == graphs | {
        MapNeed("block3", "sum"),
        MapNeed("block5", "sum"),
    }


def test_two_workers_equal_one() -> None:
    """Losses and gradients of the parts, averaged as DDP averages, are those of the whole; one part has no region."""
    student_loss = build()
    teacher, labels = output(2), draw_labels()
    student = output(1)
    leaves = [
        tensor.requires_grad_()
        for tensor in (student.logits, *(student.features[name] for name in ("block2", "block3")))
    ]
    whole = run(student_loss, student, teacher, labels)
    expected = torch.autograd.grad(whole.loss, leaves)

    answers = teacher_answers(student_loss.needs(), teacher, labels, 4)
    slices = (slice(0, 3), slice(3, 4))
    counts: list[Tensor] = []

    def record(tensor: Tensor) -> Tensor:
        counts.append(tensor)
        return tensor

    def share(rank: int, all_reduce: Any) -> StudentLossResult:
        where = slices[rank]
        own = {key: value[where] for key, value in answers.items()}
        result: StudentLossResult = student_loss(part(student, where), labels[where], own, Workers(rank, 2, all_reduce))
        return result

    for rank in range(2):
        share(rank, record)
    assert len(counts) == 2  # one all-reduce per step
    results = [share(rank, lambda _: counts[0] + counts[1]) for rank in range(2)]
    averaged = torch.autograd.grad((results[0].loss + results[1].loss) / 2, leaves)
    for ours, theirs in zip(averaged, expected, strict=True):
        assert_close(ours, theirs)
    for name in whole.parts:
        assert_close(results[0].parts[name] + results[1].parts[name], whole.parts[name])


def test_all_ignored_batch_is_zero_and_attached() -> None:
    student = output(1)
    student.logits.requires_grad_()
    result = run(build(distill__attention__weight=0.0), student, output(2), torch.full((4, 16, 24), 255))
    assert result.loss == 0
    result.loss.backward()
    assert student.logits.grad is not None
    assert (student.logits.grad == 0).all()


def test_autocast_output_gives_float32_loss() -> None:
    student = output(1)
    half = NetworkOutput(student.logits.bfloat16(), {key: value.bfloat16() for key, value in student.features.items()})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = run(build(), half, output(2), draw_labels())
    assert result.loss.dtype == torch.float32
    assert all(value.dtype == torch.float32 for value in result.parts.values())


def test_without_adapters_the_state_holds_measured_gradients_only() -> None:
    assert set(build().state_dict()) == {"norms.squares", "norms._extra_state"}
    assert not list(build().parameters())
    assert set(TERMS) >= {"affinity", "attention"}


def test_mismatched_sizes_are_named() -> None:
    with pytest.raises(SettingError, match=r"logits \(4, 4, 16, 24\), labels \(4, 8, 24\)"):
        run(build(distill__enabled=False), output(1), output(2), draw_labels()[:, :8])
