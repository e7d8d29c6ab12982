"""Weights of terms: schedules over time, and balance against the task's gradient."""

from collections.abc import Callable
from typing import Any, Literal, cast

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from intra_search.config.distill import KDSettings
from intra_search.config.parsing import with_overrides
from intra_search.config.study import StudySettings
from intra_search.distill.loss import StudentLoss, StudentLossResult
from intra_search.distill.needs import teacher_answers
from intra_search.distill.weighting import scheduled_weight
from intra_search.distill.workers import ALONE
from intra_search.errors import SettingError
from intra_search.networks import NetworkOutput, build_network

K = 4


def identity(tensor: Tensor) -> Tensor:
    return tensor


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [2, 2, 2, 2, 2]),
        ("warmup", [0, 1, 2, 2, 2]),  # ramp 0.5
        ("cosine", [2, 1 + 2**-0.5, 1, 1 - 2**-0.5, 0]),
    ],
)
def test_schedules_by_hand(schedule: Literal["constant", "warmup", "cosine"], expected: list[float]) -> None:
    settings = KDSettings(weight=2.0, schedule=schedule, ramp=0.5)
    assert [scheduled_weight(settings, share / 4) for share in range(5)] == pytest.approx(expected)


class Case:
    """A student, a teacher and a student loss; `step` runs one training step's forward pass."""

    def __init__(self, **overrides: Any) -> None:
        settings = with_overrides(StudySettings(), {f"distill.{path}": value for path, value in overrides.items()})
        torch.manual_seed(0)
        self.student = build_network("erfnet", K, width=0.25, blocks=(1, 1)).eval()
        self.teacher = build_network("erfnet", K, width=0.5, blocks=(1, 1)).eval()
        self.images = torch.randn(2, 3, 32, 48)
        # Blocks larger than the deepest cells: with every class in every cell regions would be equal and affinity 0.
        self.labels = torch.randint(0, K, (2, 2, 3)).repeat_interleave(16, dim=1).repeat_interleave(16, dim=2)
        self.student_loss = StudentLoss(
            settings.distill,
            settings.training,
            num_classes=K,
            ignored_class=False,
            student_channels=cast(dict[str, int], self.student.feature_channels),
            teacher_channels=cast(dict[str, int], self.teacher.feature_channels),
        )
        self.output: NetworkOutput = self.student(self.images)

    def step(self, progress: float = 0.0, all_reduce: Callable[[Tensor], Tensor] = identity) -> StudentLossResult:
        answers = teacher_answers(self.student_loss.needs(), self.teacher(self.images), self.labels, K)
        self.output = self.student(self.images)
        result: StudentLossResult = self.student_loss(
            self.output, self.labels, answers, ALONE._replace(all_reduce=all_reduce), progress=progress
        )
        return result


LAYERS = {"layers": [["block2", "block2"], ["block3", "block3"]], "attention.weight": 0.0}


def test_progress_moves_the_weight_and_the_loss() -> None:
    case = Case(**LAYERS, **{"affinity.weight": 2.0, "affinity.schedule": "warmup", "affinity.ramp": 0.5})
    for progress, weight in ((0.0, 0.0), (0.25, 1.0), (1.0, 2.0)):
        result = case.step(progress)
        assert result.weights["affinity"].item() == pytest.approx(weight)
        expected = result.parts["ce"] + weight * result.parts["affinity"]
        assert_close(result.loss.detach(), expected)


@pytest.mark.parametrize("name", ["affinity", "kd", "fitnet"])
def test_balanced_terms_have_the_stated_gradient_norm(name: str) -> None:
    """At the term's own feature, in the very first step."""
    case = Case(**LAYERS, **{"affinity.weight": 0.0} | {f"{name}.weight": 0.5, "balance": "gradient"})
    result = case.step()
    anchor = case.output.logits if name == "kd" else case.output.features["block3"]
    (both,) = torch.autograd.grad(result.loss, [anchor], retain_graph=True)
    plain = Case(**LAYERS, **{"affinity.weight": 0.0})
    (task,) = torch.autograd.grad(
        plain.step().loss, [plain.output.logits if name == "kd" else plain.output.features["block3"]]
    )
    assert ((both - task).norm() / task.norm()).item() == pytest.approx(0.5, rel=1e-4)


def test_ratios_are_kept_after_the_measured_steps_and_over_a_restart() -> None:
    case = Case(**LAYERS, balance="gradient", balance_steps=2)
    calls: list[int] = []

    def count(tensor: Tensor) -> Tensor:
        calls.append(1)
        return tensor

    first = case.step(all_reduce=count).weights["affinity"]
    with torch.no_grad():
        for parameter in case.student.parameters():
            parameter.mul_(1.5)
    second = case.step(all_reduce=count).weights["affinity"]
    assert second != first
    state = case.student_loss.state_dict()
    assert {key for key in state if key.startswith("balance")} == {"balance.squares", "balance.steps"}
    with torch.no_grad():
        for parameter in case.student.parameters():
            parameter.mul_(1.5)
    assert case.step(all_reduce=count).weights["affinity"] == second
    assert len(calls) == 2 + 2 + 1  # no second all-reduce once all is measured

    restarted = Case(**LAYERS, balance="gradient", balance_steps=2)
    restarted.student_loss.load_state_dict(state)
    assert restarted.step().weights["affinity"] == second


def test_evaluation_measures_nothing() -> None:
    case = Case(**LAYERS, balance="gradient")
    case.student_loss.eval()
    assert case.step().weights["affinity"].item() == pytest.approx(0.1)  # the ratio is 1 until something is measured
    assert case.student_loss.balance is not None
    assert case.student_loss.balance.steps == 0


def test_a_feature_outside_the_graph_is_named() -> None:
    """As with a compiled network, whose features and logits come out side by side."""
    case = Case(**LAYERS, balance="gradient")
    inner = case.student

    class Detached(nn.Module):
        def forward(self, images: Tensor) -> NetworkOutput:
            output = inner(images)
            return NetworkOutput(output.logits, {key: value.clone() for key, value in output.features.items()})

    case.student = Detached()
    with pytest.raises(SettingError, match=r"distill\.balance: .* switch training\.compile off"):
        case.step()


def test_a_weight_of_zero_builds_nothing_whatever_its_schedule() -> None:
    case = Case(**LAYERS, **{"affinity.weight": 0.0, "affinity.schedule": "warmup", "fitnet.weight": 0.0})
    assert not list(case.student_loss.terms)
    assert not case.student_loss.needs()
    assert not list(case.student_loss.parameters())
