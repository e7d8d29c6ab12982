"""Weights of terms: schedules over time, and balance against the task's gradient."""

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from intra_search.config.distill import KDSettings
from intra_search.config.parsing import with_overrides
from intra_search.config.study import StudySettings
from intra_search.distill.loss import StudentLoss, StudentLossResult, needs_of
from intra_search.distill.needs import Need, teacher_answers
from intra_search.distill.terms.table import TERMS
from intra_search.distill.weighting import GradientNorms, Measured, scheduled_weight
from intra_search.distill.workers import ALONE
from intra_search.errors import SettingError
from intra_search.networks import NetworkOutput, build_network

K = 4


def identity(tensor: Tensor) -> Tensor:
    return tensor


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({}, [2, 2, 2, 2, 2]),
        ({"ramp": 0.5}, [0, 1, 2, 2, 2]),
        ({"decay": 1.0}, [2, 1 + 2**-0.5, 1, 1 - 2**-0.5, 0]),
        ({"start": 0.5}, [0, 0, 2, 2, 2]),
        ({"start": 0.25, "ramp": 0.5}, [0, 0, 1, 2, 2]),
        ({"start": 0.25, "decay": 0.5}, [0, 2, 2, 1, 0]),
        ({"ramp": 1.0, "decay": 1.0}, [0, 0.25 * (1 + 2**-0.5), 0.5, 0.75 * (1 - 2**-0.5), 0]),
    ],
    ids=str,
)
def test_schedules_by_hand(schedule: dict[str, float], expected: list[float]) -> None:
    settings = KDSettings.model_validate({"weight": 2.0, **schedule})
    assert [scheduled_weight(settings, share / 4) for share in range(5)] == pytest.approx(expected)


class Case:
    """A student, a teacher and a student loss; `step` runs one training step's forward pass."""

    def __init__(self, **overrides: Any) -> None:
        settings = with_overrides(StudySettings(), {f"distill.{path}": value for path, value in overrides.items()})
        self.settings = settings
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

    def needs(self, name: str) -> frozenset[Need]:
        return frozenset(TERMS[name].needs_of(self.settings.distill))

    def step(self, progress: float = 0.0, all_reduce: Callable[[Tensor], Tensor] = identity) -> StudentLossResult:
        answers = teacher_answers(self.student_loss.needs(), self.teacher(self.images), self.labels, K)
        self.output = self.student(self.images)
        result: StudentLossResult = self.student_loss(
            self.output, self.labels, answers, ALONE._replace(all_reduce=all_reduce), progress=progress
        )
        return result


LAYERS = {"layers": [["block2", "block2"], ["block3", "block3"]], "attention.weight": 0.0}
UNBALANCED = {**LAYERS, "balance": "none"}


def counting() -> tuple[list[int], Callable[[Tensor], Tensor]]:
    """An all-reduce of one worker, and a list that grows by one with each call."""
    calls: list[int] = []

    def count(tensor: Tensor) -> Tensor:
        calls.append(1)
        return tensor

    return calls, count


def scale_student(case: Case, factor: float) -> None:
    with torch.no_grad():
        for parameter in case.student.parameters():
            parameter.mul_(factor)


def test_progress_moves_the_weight_and_the_loss() -> None:
    case = Case(**UNBALANCED, **{"affinity.weight": 2.0, "affinity.ramp": 0.5})
    for progress, weight in ((0.25, 1.0), (0.5, 2.0), (1.0, 2.0)):
        result = case.step(progress)
        assert result.weights["affinity"].item() == pytest.approx(weight)
        expected = result.parts["ce"] + weight * result.parts["affinity"]
        assert_close(result.loss.detach(), expected)


def test_a_term_that_has_not_begun_is_not_computed_and_asks_nothing() -> None:
    case = Case(**LAYERS, **{"affinity.start": 0.5, "kd.weight": 1.0, "kd.decay": 0.25})
    settings = case.settings.distill
    kd, affinity = case.needs("kd"), case.needs("affinity")
    assert needs_of(settings, 0.0) == needs_of(settings, 0.49) == kd
    assert needs_of(settings, 0.5) == needs_of(settings) == kd | affinity
    assert needs_of(settings, 1.0) == affinity
    early, late = case.step(0.49), case.step(0.5)
    assert set(early.parts) == {"ce", "kd"}
    assert set(early.weights) == {"kd"}
    assert set(late.parts) == {"ce", "kd", "affinity"}


@pytest.mark.parametrize("name", ["affinity", "kd", "fitnet"])
def test_balanced_terms_have_the_stated_gradient_norm(name: str) -> None:
    """At the term's own feature, in the very first step."""
    case = Case(**LAYERS, **{"affinity.weight": 0.0} | {f"{name}.weight": 0.5})
    result = case.step()
    anchor = case.output.logits if name == "kd" else case.output.features["block3"]
    (both,) = torch.autograd.grad(result.loss, [anchor], retain_graph=True)
    plain = Case(**LAYERS, **{"affinity.weight": 0.0})
    (task,) = torch.autograd.grad(
        plain.step().loss, [plain.output.logits if name == "kd" else plain.output.features["block3"]]
    )
    assert ((both - task).norm() / task.norm()).item() == pytest.approx(0.5, rel=1e-4)


def test_gradients_are_measured_in_the_first_steps_and_every_few_later_ones() -> None:
    case = Case(**LAYERS, balance_every=10)
    calls, count = counting()
    measured = []
    for step in range(32):
        before = len(calls)
        assert case.student_loss.measures(0.5) == (step in {0, 1, 2, 4, 8, 10, 20, 30})
        case.step(0.5, all_reduce=count)
        measured += [step] * (len(calls) - before - 1)  # one all-reduce adds up the counts in every step
    assert measured == [0, 1, 2, 4, 8, 10, 20, 30]


def test_averages_forget_what_is_long_past() -> None:
    """The mean of the first eight measurements, then each new one counts an eighth: by hand, on gradients of known
    norm: the task's is 1, the term's is the number of the measurement."""
    norms = GradientNorms(["term"], every=1)
    feature = torch.zeros(1, requires_grad=True)
    mean = 0.0
    for number in range(1, 21):
        norms.measure(feature.sum(), {"term": Measured(number * feature.sum(), feature)}, identity)
        mean += (number**2 - mean) / min(number, 8)
        assert norms.ratios()["term"].item() == pytest.approx(mean**-0.5)
    assert mean > sum(number**2 for number in range(1, 21)) / 20


def test_a_term_that_begins_later_is_measured_in_its_first_step() -> None:
    case = Case(**LAYERS, balance_every=1000, **{"kd.weight": 0.5, "affinity.start": 0.5})
    for _ in range(5):
        case.step(0.0)
    assert not case.student_loss.measures(0.0)
    assert case.student_loss.measures(0.5)
    first = case.step(0.5).weights["affinity"].item()
    assert first != pytest.approx(0.1)  # a ratio of 1
    assert not case.student_loss.measures(0.5)


def test_weights_go_on_after_a_restart_as_if_there_had_been_none() -> None:
    def run(case: Case, steps: range) -> list[float]:
        found = []
        for _ in steps:
            found.append(case.step().weights["affinity"].item())
            scale_student(case, 1.1)
        return found

    whole = run(Case(**LAYERS, balance_every=3), range(8))
    begun = Case(**LAYERS, balance_every=3)
    first = run(begun, range(3))
    resumed = Case(**LAYERS, balance_every=3)
    resumed.student.load_state_dict(begun.student.state_dict())
    resumed.student_loss.load_state_dict(begun.student_loss.state_dict())
    assert first + run(resumed, range(3, 8)) == whole
    assert len(set(whole)) > 3


def test_checkpoints_of_older_releases_go_on() -> None:
    """Those had no norms; with balance they had sums of squares over their first steps."""
    case = Case(**LAYERS)
    case.student_loss.load_state_dict({})
    assert case.student_loss.measures(0.0)
    sums = torch.tensor([[20.0], [5.0]], dtype=torch.float64)
    case.student_loss.load_state_dict({"balance.squares": sums, "balance.steps": torch.tensor(20)})
    assert case.student_loss.norms.ratios() == {"affinity": 2.0}
    assert not case.student_loss.measures(0.5)  # the next one is step 32
    assert case.student_loss.norms.get_extra_state() == {"steps": 20, "counts": {"affinity": 20}}


def test_evaluation_measures_nothing() -> None:
    case = Case(**LAYERS)
    case.student_loss.eval()
    calls, count = counting()
    assert case.step(all_reduce=count).weights["affinity"].item() == pytest.approx(0.1)  # nothing measured: ratio 1
    assert len(calls) == 1


def test_without_balance_gradients_are_measured_in_the_first_epoch_only() -> None:
    """So that a term that drowns the task can be said."""
    case = Case(**UNBALANCED, **{"affinity.weight": 300.0, "kd.weight": 1e-6})
    calls, count = counting()
    first = case.step(0.0, all_reduce=count)
    assert first.weights["affinity"].item() == 300.0
    assert len(calls) == 2
    case.step(0.5, all_reduce=count)
    assert len(calls) == 3


@pytest.mark.parametrize("balance", ["gradient", "none"])
def test_pulls_are_multiples_of_the_tasks_gradient(balance: str) -> None:
    case = Case(**LAYERS, balance=balance, **{"affinity.weight": 3.0})
    result = case.step(0.0)
    feature = case.output.features["block3"]
    (both,) = torch.autograd.grad(result.loss, [feature])
    plain = Case(**LAYERS, **{"affinity.weight": 0.0})
    (task,) = torch.autograd.grad(plain.step().loss, [plain.output.features["block3"]])
    found = ((both - task).norm() / task.norm()).item()
    assert case.student_loss.pulls() == {"affinity": pytest.approx(found, rel=1e-3)}


def test_a_feature_outside_the_graph_is_named() -> None:
    case = Case(**LAYERS)
    inner = case.student

    class Detached(nn.Module):
        def forward(self, images: Tensor) -> NetworkOutput:
            output = inner(images)
            return NetworkOutput(output.logits, {key: value.clone() for key, value in output.features.items()})

    case.student = Detached()
    with pytest.raises(SettingError, match=r"distill\.balance: .*, found none for the task loss; .* = \"none\""):
        case.step()


def test_a_weight_of_zero_builds_nothing_whatever_its_schedule() -> None:
    case = Case(**LAYERS, **{"affinity.weight": 0.0, "affinity.ramp": 0.5, "fitnet.weight": 0.0})
    assert not list(case.student_loss.terms)
    assert not case.student_loss.needs()
    assert not list(case.student_loss.parameters())
