"""Contract of every term in the table, through the student loss and alone."""

import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.testing import assert_close

from intra_search.config.distill import DistillSettings
from intra_search.config.parsing import with_overrides
from intra_search.config.study import StudySettings
from intra_search.distill.loss import needs_of
from intra_search.distill.needs import teacher_answers
from intra_search.distill.term import RelationTerm, Term, TermContext, TermResult
from intra_search.distill.terms.table import TERMS
from intra_search.errors import KnowledgeError, SettingError
from intra_search.networks import NetworkOutput

# B 3 images, K 4 classes, 32 x 48 pixels

NUM_CLASSES = 4
STUDENT_CHANNELS = {"block1": 4, "block2": 5, "block3": 6}
TEACHER_CHANNELS = {"block1": 4, "block2": 6, "block3": 7, "block4": 8, "block5": 9}
STRIDES = {"block1": 2, "block2": 4, "block3": 8, "block4": 8, "block5": 8}

VARIANTS: dict[str, dict[str, Any]] = {
    "affinity of soft regions, literal": {"masks": "soft", "variant": "literal", "absent": "counted"},
    "affinity in the foreground, orders to 6": {"background": False, "orders": [1, 4, 5, 6], "resize": "bilinear"},
    "cwd of features": {"on": "features"},
    "skd of pairs": {"pixel_weight": 0.0, "nodes": 3},
    "irg with transformation": {"transformation_weight": 1.0},
}
"""Options that change a term's formula; the first word is the term's name."""

every_term = pytest.mark.parametrize("name", [*TERMS, *VARIANTS])


def term_of(name: str) -> str:
    return name.split()[0]


def only(name: str, **options: Any) -> DistillSettings:
    """Settings where one term, or a variant of one, is on alone."""
    term = term_of(name)
    overrides: dict[str, Any] = {f"distill.{other}.weight": 0.0 for other in TERMS} | {f"distill.{term}.weight": 1.0}
    overrides["distill.layers"] = [["block2", "block3"], ["block3", "block5"]]
    overrides |= {f"distill.{term}.{option}": value for option, value in VARIANTS.get(name, {}).items()}
    overrides |= {f"distill.{path}": value for path, value in options.items()}
    return with_overrides(StudySettings(), overrides).distill


def build(settings: DistillSettings, name: str, num_classes: int = NUM_CLASSES) -> Term:
    torch.manual_seed(0)
    return TERMS[term_of(name)](settings, TermContext(num_classes, STUDENT_CHANNELS, TEACHER_CHANNELS)).double()


def output(seed: int, channels: dict[str, int], batch: int = 3) -> NetworkOutput:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=generator, dtype=torch.float64).requires_grad_()

    features = {name: draw(c, 32 // STRIDES[name], 48 // STRIDES[name]) for name, c in channels.items()}
    return NetworkOutput(draw(NUM_CLASSES, 32, 48), features)


def labels_of(seed: int = 0, batch: int = 3) -> Tensor:
    """Blocks of 8 x 8 pixels of classes 0..2 (3 is absent), some ignored."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 4, (batch, 4, 6), generator=generator)
    coarse = torch.where(coarse == 3, 255, coarse)
    return coarse.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)


def repeat(output: NetworkOutput, times: int) -> NetworkOutput:
    features = {name: value.repeat(times, 1, 1, 1) for name, value in output.features.items()}
    return NetworkOutput(output.logits.repeat(times, 1, 1, 1), features)


def value_of(
    term: Term, student: NetworkOutput, teacher: NetworkOutput, labels: Tensor, num_classes: int = NUM_CLASSES
) -> Tensor:
    answers = teacher_answers(term.needs_of(term.settings), teacher, labels, num_classes)
    result: TermResult = term(student, answers, labels)
    assert result.sums.shape == result.counts.shape == (len(result.sums),)
    assert not result.counts.requires_grad
    return (result.sums / result.counts.clamp_min(1)).sum()


def gradients(value: Tensor, network: NetworkOutput) -> list[Tensor]:
    tensors = [network.logits, *network.features.values()]
    return [g for g in torch.autograd.grad(value, tensors, allow_unused=True) if g is not None]


@every_term
def test_gradient_reaches_the_student_only(name: str) -> None:
    term = build(only(name), name)
    student, teacher = output(1, STUDENT_CHANNELS), output(2, TEACHER_CHANNELS)
    value = value_of(term, student, teacher, labels_of())
    assert value > 0
    assert not gradients(value.clone(), teacher)
    found = gradients(value, student)
    assert found
    assert all(gradient.isfinite().all() for gradient in found)
    assert any(gradient.abs().sum() > 0 for gradient in found)


@every_term
def test_gradcheck(name: str) -> None:
    """For logits, features and adapters. Targets that a term takes from the student itself stay fixed: see `held`."""
    term = build(only(name), name)
    student, teacher, labels = (
        output(1, STUDENT_CHANNELS, batch=2),
        output(2, TEACHER_CHANNELS, batch=2),
        labels_of(0, 2),
    )
    answers = teacher_answers(term.needs_of(term.settings), teacher, labels, NUM_CLASSES)
    features, parameters = list(student.features), dict(term.named_parameters())

    def value(logits: Tensor, *leaves: Tensor) -> Tensor:
        own = NetworkOutput(logits, dict(zip(features, leaves, strict=False)))
        weights = dict(zip(parameters, leaves[len(features) :], strict=True))
        result: TermResult = functional_call(term, weights, (own, answers, labels))
        return (result.sums / result.counts.clamp_min(1)).sum()

    inputs = (student.logits, *student.features.values(), *parameters.values())
    with held(term, value, inputs):
        assert torch.autograd.gradcheck(value, inputs, fast_mode=True)


@contextmanager
def held(term: Term, value: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> Iterator[None]:
    """Fixes the targets of a self-distilling term to those of the given inputs, for all later calls.

    The term detaches its targets, so a numerical derivative, which moves them too, would differ from the gradient.
    """
    module = sys.modules[type(term).__module__]
    gap = {"sad": "attention_gap", "dks": "kd_gap"}.get(module.__name__.rpartition(".")[2])
    if gap is None:
        yield
        return
    original: Callable[..., Tensor] = getattr(module, gap)
    targets: list[Tensor] = []

    def recording(own: Tensor, target: Tensor, *rest: Any) -> Tensor:
        targets.append(target.detach())
        return original(own, target, *rest)

    calls = itertools.count()

    def repeating(own: Tensor, target: Tensor, *rest: Any) -> Tensor:
        return original(own, targets[next(calls) % len(targets)], *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, gap, recording)
        value(*inputs)
        patch.setattr(module, gap, repeating)
        yield


@every_term
def test_anchor_is_what_the_terms_gradient_passes(name: str) -> None:
    """`distill.balance` measures gradients at the anchor."""
    term = build(only(name), name)
    student, teacher = output(1, STUDENT_CHANNELS), output(2, TEACHER_CHANNELS)
    value = value_of(term, student, teacher, labels_of())
    anchor = student.logits if term.anchor == "logits" else student.features[term.anchor]
    (gradient,) = torch.autograd.grad(value, [anchor])
    assert gradient.abs().sum() > 0


@every_term
def test_batch_repetition_is_irrelevant(name: str) -> None:
    term = build(only(name), name)
    student, teacher, labels = output(1, STUDENT_CHANNELS), output(2, TEACHER_CHANNELS), labels_of()
    once = value_of(term, student, teacher, labels)
    twice = value_of(term, repeat(student, 2), repeat(teacher, 2), labels.repeat(2, 1, 1))
    assert_close(twice, once)


@pytest.mark.parametrize(
    "name", [name for name in (*TERMS, *VARIANTS) if not issubclass(TERMS[term_of(name)], RelationTerm)]
)
def test_sums_and_counts_of_parts_add_up(name: str) -> None:
    """So two workers equal one. Terms that relate images exchange them instead: `test_two_workers`."""
    term = build(only(name), name)
    student, teacher, labels = output(1, STUDENT_CHANNELS), output(2, TEACHER_CHANNELS), labels_of()
    answers = teacher_answers(term.needs_of(term.settings), teacher, labels, NUM_CLASSES)
    whole = term(student, answers, labels)
    parts = []
    for part in (slice(0, 1), slice(1, 3)):
        own = NetworkOutput(student.logits[part], {key: value[part] for key, value in student.features.items()})
        parts.append(term(own, {key: value[part] for key, value in answers.items()}, labels[part]))
    assert_close(parts[0].sums + parts[1].sums, whole.sums)
    assert_close(parts[0].counts + parts[1].counts, whole.counts)


@every_term
def test_nothing_to_compare_is_zero_and_attached(name: str) -> None:
    term = build(only(name), name)
    student, teacher = output(1, STUDENT_CHANNELS), output(2, TEACHER_CHANNELS)
    labels = torch.full_like(labels_of(), 255)
    value = value_of(term, student, teacher, labels)
    assert value.isfinite()
    found = gradients(value, student)
    assert found
    assert all(gradient.isfinite().all() for gradient in found)


@every_term
def test_answers_are_batch_first_detached_and_under_the_needs_keys(name: str) -> None:
    needs = needs_of(only(name))
    answers = teacher_answers(needs, output(2, TEACHER_CHANNELS), labels_of(), NUM_CLASSES)
    for key, answer in answers.items():
        assert any(key.startswith(need.key) for need in needs)
        assert len(answer) == 3
        assert not answer.requires_grad
        assert answer.dtype in (torch.float32, torch.bool)
    single = teacher_answers(needs, output(2, TEACHER_CHANNELS), labels_of(), NUM_CLASSES)
    assert all(torch.equal(single[key], answers[key]) for key in answers)


@every_term
def test_stored_answers_equal_live_ones_image_by_image(name: str) -> None:
    needs, teacher, labels = needs_of(only(name)), output(2, TEACHER_CHANNELS), labels_of()
    whole = teacher_answers(needs, teacher, labels, NUM_CLASSES)
    for index in range(3):
        own = {key: value[index : index + 1] for key, value in teacher.features.items()}
        alone = teacher_answers(
            needs, NetworkOutput(teacher.logits[index : index + 1], own), labels[index : index + 1], NUM_CLASSES
        )
        assert alone.keys() == whole.keys()
        for key, value in alone.items():
            assert_close(value, whole[key][index : index + 1])


@every_term
def test_extremes_stay_finite_under_autocast(name: str) -> None:
    term = build(only(name), name).float()
    for scale in (0.0, 1e-6, 1.0, 1e4):
        outputs = []
        for seed, channels in ((1, STUDENT_CHANNELS), (2, TEACHER_CHANNELS)):
            wide = output(seed, channels, batch=1)
            features = {
                key: (scale * value).detach().bfloat16().requires_grad_() for key, value in wide.features.items()
            }
            outputs.append(NetworkOutput((scale * wide.logits).detach().bfloat16().requires_grad_(), features))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = value_of(term, outputs[0], outputs[1], labels_of(batch=1))
        assert value.dtype == (torch.float64 if "literal" in name else torch.float32)
        assert value.isfinite()
        assert all(gradient.isfinite().all() for gradient in gradients(value, outputs[0]))


@every_term
@pytest.mark.parametrize("num_classes", [2, 150])
def test_few_and_many_classes_stay_finite(name: str, num_classes: int) -> None:
    term = build(only(name), name, num_classes).float()
    labels = torch.arange(24).view(1, 4, 6) * 7 % num_classes
    labels = labels.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)
    outputs = []
    for seed, channels in ((1, STUDENT_CHANNELS), (2, TEACHER_CHANNELS)):
        drawn = output(seed, channels, batch=1)
        logits = torch.randn(1, num_classes, 32, 48, generator=torch.Generator().manual_seed(seed)).requires_grad_()
        features = {key: value.detach().float().requires_grad_() for key, value in drawn.features.items()}
        outputs.append(NetworkOutput(logits, features))
    value = value_of(term, outputs[0], outputs[1], labels, num_classes)
    assert value.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients(value, outputs[0]))


@every_term
def test_order_of_classes_is_irrelevant(name: str) -> None:
    options = (
        {"affinity.background": True} if term_of(name) == "affinity" else {}
    )  # otherwise class 0 is treated differently
    term = build(only(name, **options), name)
    student, teacher, labels = output(1, STUDENT_CHANNELS), output(2, TEACHER_CHANNELS), labels_of()
    value = value_of(term, student, teacher, labels)
    order = torch.tensor([2, 0, 3, 1])
    renamed = torch.full((256,), 255)
    renamed[order] = torch.arange(NUM_CLASSES)
    with torch.no_grad():
        for classifier in getattr(term, "classifiers", []):
            classifier.weight.copy_(classifier.weight[order])
            classifier.bias.copy_(classifier.bias[order])
    student, teacher = (NetworkOutput(network.logits[:, order], network.features) for network in (student, teacher))
    assert_close(value_of(term, student, teacher, renamed[labels]), value)


@pytest.mark.parametrize("name", [name for name in (*TERMS, *VARIANTS) if needs_of(only(name))])
def test_missing_knowledge_is_named(name: str) -> None:
    settings = only(name)
    with pytest.raises(KnowledgeError, match="knowledge: must hold"):
        build(settings, name)(output(1, STUDENT_CHANNELS), {}, labels_of())


@every_term
def test_needs_are_values(name: str) -> None:
    first, second = needs_of(only(name)), needs_of(only(name))
    assert first == second
    assert len({need.key for need in first}) == len(first)


@pytest.mark.parametrize("name", ["affinity", "attention"])
def test_student_equal_to_teacher_costs_nothing(name: str) -> None:
    settings = only(name, layers=[["block2", "block2"], ["block3", "block3"]])
    term = TERMS[name](settings, TermContext(NUM_CLASSES, TEACHER_CHANNELS, TEACHER_CHANNELS))
    network = output(2, TEACHER_CHANNELS)
    assert value_of(term, network, network, labels_of()).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ["affinity", "ifvd"])
def test_ignored_pixels_and_features_under_them_are_irrelevant(name: str) -> None:
    """On layers whose cells are wholly ignored or not at all, so without resizing between the networks."""
    term = build(
        only(name, **{"affinity.kernel_size": 1, "layers": [["block2", "block2"], ["block3", "block5"]]}), name
    )
    student, teacher, labels = output(1, STUDENT_CHANNELS), output(2, TEACHER_CHANNELS), labels_of()
    value = value_of(term, student, teacher, labels)
    disturbed = []
    for network in (student, teacher):
        features = {}
        for key, tensor in network.features.items():
            ignored = (labels == 255)[:, :: STRIDES[key], :: STRIDES[key]].unsqueeze(1)
            features[key] = torch.where(ignored, 1e3, tensor)
        disturbed.append(NetworkOutput(network.logits, features))
    assert_close(value_of(term, disturbed[0], disturbed[1], labels), value)


@pytest.mark.parametrize("name", sorted({*TERMS, *VARIANTS} - {"kd", "cwd", "dist", "sad", "dks"}))
@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([["block9", "block3"]], "features of the student, found 'block9'; the student's features are: block1, block2"),
        ([["block2", "layer4"]], "features of the teacher, found 'layer4'; the teacher's features are: block1, block2"),
    ],
)
def test_unknown_layers_are_named(name: str, layers: list[list[str]], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        build(only(name, layers=[*layers, ["block3", "block5"]]), name)


@pytest.mark.parametrize("name", ["fsp", "neighbour", "irg with transformation"])
def test_neighbours_need_two_layers(name: str) -> None:
    settings = only(name, layer_weights=[1.0, 0.0])
    with pytest.raises(SettingError, match="must hold two pairs of weight above 0"):
        build(settings, name)
