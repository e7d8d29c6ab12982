"""The compared methods: values worked out by hand, and float64 oracles written from the formulas as explicit loops."""

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from intra_search.config.distill import DistillSettings
from intra_search.config.parsing import with_overrides
from intra_search.config.study import StudySettings
from intra_search.distill.attention import transfer_map
from intra_search.distill.needs import teacher_answers
from intra_search.distill.term import Term, TermContext, TermResult
from intra_search.distill.terms.at import at_gap
from intra_search.distill.terms.cirkd import grid_embeddings, relation_gap
from intra_search.distill.terms.cwd import cwd_gap
from intra_search.distill.terms.dist import correlation, dist_gap
from intra_search.distill.terms.fitnet import hint_gap
from intra_search.distill.terms.fsp import flow_matrix
from intra_search.distill.terms.ifvd import class_masks, coherence_gap, coherence_map
from intra_search.distill.terms.irg import distance_matrix, pooled_features
from intra_search.distill.terms.kd import kd_gap
from intra_search.distill.terms.skd import node_similarity, pair_gap, pixel_gap
from intra_search.distill.terms.table import TERMS
from intra_search.networks import NetworkOutput

B, K, H, W = 2, 3, 4, 6


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softmax(values: list[float]) -> list[float]:
    total = math.fsum(math.exp(value) for value in values)
    return [math.exp(value) / total for value in values]


def kl(target: list[float], own: list[float]) -> float:
    return math.fsum(t * math.log(t / s) for t, s in zip(target, own, strict=True))


def cosine(a: list[float], b: list[float]) -> float:
    norms = math.sqrt(math.fsum(x * x for x in a) * math.fsum(y * y for y in b))
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / norms if norms else 0.0


def pearson(a: list[float], b: list[float]) -> float:
    mean_a, mean_b = math.fsum(a) / len(a), math.fsum(b) / len(b)
    return cosine([x - mean_a for x in a], [y - mean_b for y in b])


# KD


def test_kd_by_hand() -> None:
    """p_T = (1/2, 1/2), p_S = (3/4, 1/4): KL = 1/2 log(2/3) + 1/2 log 2 = 1/2 log(4/3)."""
    student = torch.tensor([math.log(3.0), 0.0]).view(1, 2, 1, 1)
    assert kd_gap(student, torch.zeros(1, 2, 1, 1), 1.0).item() == pytest.approx(0.5 * math.log(4 / 3))
    # At T = 2 the same probabilities come from logits twice as large, and the factor is 4.
    assert kd_gap(2 * student, torch.zeros(1, 2, 1, 1), 2.0).item() == pytest.approx(4 * 0.5 * math.log(4 / 3))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_kd_against_loops(temperature: float) -> None:
    student, teacher = draw(0, B, K, H, W), draw(1, B, K, H, W)
    for b in range(B):
        total = 0.0
        for y in range(H):
            for x in range(W):
                own, target = (softmax((z[b, :, y, x] / temperature).tolist()) for z in (student, teacher))
                total += temperature**2 * kl(target, own)
        assert kd_gap(student, teacher, temperature)[b].item() == pytest.approx(total / (H * W))


# CWD


def test_cwd_by_hand() -> None:
    """One channel, two positions: the teacher uniform, the student (3/4, 1/4)."""
    student = torch.tensor([math.log(3.0), 0.0]).view(1, 1, 1, 2)
    assert cwd_gap(student, torch.zeros(1, 1, 1, 2), 1.0).item() == pytest.approx(0.5 * math.log(4 / 3))


def test_cwd_against_loops() -> None:
    student, teacher = draw(0, B, K, H, W), draw(1, B, K, H, W)
    for b in range(B):
        total = 0.0
        for c in range(K):
            own, target = (softmax((z[b, c].flatten() / 4).tolist()) for z in (student, teacher))
            total += 4**2 * kl(target, own)
        assert cwd_gap(student, teacher, 4.0)[b].item() == pytest.approx(total / K)


# AT


def test_at_by_hand() -> None:
    """Energies (9, 16) / 2 normalise to (9, 16) / sqrt(337); against (1, 0)."""
    student = transfer_map(torch.tensor([[[[3.0, 0.0]], [[0.0, 4.0]]]]))
    assert_close(student, torch.tensor([[[9.0, 16.0]]]) / math.sqrt(337))
    expected = ((9 / math.sqrt(337) - 1) ** 2 + (16 / math.sqrt(337)) ** 2) / 2
    assert at_gap(student, torch.tensor([[[1.0, 0.0]]])).item() == pytest.approx(expected)


def test_at_against_loops_and_scale() -> None:
    features = draw(0, B, 5, H, W)
    energy = [
        [math.fsum(features[b, c, y, x].item() ** 2 for c in range(5)) / 5 for y in range(H) for x in range(W)]
        for b in range(B)
    ]
    for b in range(B):
        norm = math.sqrt(math.fsum(value**2 for value in energy[b]))
        assert_close(transfer_map(features)[b].flatten(), torch.tensor(energy[b], dtype=torch.float64) / norm)
    assert_close(transfer_map(1e-6 * features.float()), transfer_map(features.float()))


# SKD


def test_skd_pixel_by_hand() -> None:
    """Against a uniform teacher: -1/2 (log 3/4 + log 1/4)."""
    student = torch.tensor([math.log(3.0), 0.0]).view(1, 2, 1, 1)
    expected = -0.5 * (math.log(0.75) + math.log(0.25))
    assert pixel_gap(student, torch.zeros(1, 2, 1, 1), 1.0).item() == pytest.approx(expected)


def test_skd_pixel_is_kd_plus_the_teachers_entropy() -> None:
    student, teacher = draw(0, B, K, H, W), draw(1, B, K, H, W)
    assert_close(pixel_gap(student, teacher, 1.0), kd_gap(student, teacher, 1.0) + pixel_gap(teacher, teacher, 1.0))


def test_skd_pairs_by_hand() -> None:
    """Two nodes, orthogonal for the student and parallel for the teacher: two of four entries differ by 1."""
    student = node_similarity(torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]]), 2)
    assert student.shape == (1, 4, 4)  # one row of cells is repeated over both rows of nodes
    assert pair_gap(torch.eye(2)[None], torch.ones(1, 2, 2)).item() == pytest.approx(2 / 4)


def test_skd_similarity_against_loops() -> None:
    features = draw(0, B, 5, H, W)
    similarity = node_similarity(features, 2)
    for b in range(B):
        nodes = [
            [features[b, c, y : y + H // 2, x : x + W // 2].max().item() for c in range(5)]
            for y in (0, H // 2)
            for x in (0, W // 2)
        ]
        for i, first in enumerate(nodes):
            for j, second in enumerate(nodes):
                assert similarity[b, i, j].item() == pytest.approx(cosine(first, second))


# FitNet


def test_fitnet_by_hand() -> None:
    assert hint_gap(torch.tensor([1.0, 2.0]).view(1, 2, 1, 1), torch.tensor([3.0, 2.0]).view(1, 2, 1, 1)).item() == 2


def test_fitnet_adapter_learns_and_is_initialised_by_the_seed() -> None:
    term = build("fitnet")
    assert len(list(term.parameters())) == 2
    value(term, draw_output(0), draw_output(1)).backward()
    assert all(parameter.grad is not None for parameter in term.parameters())


# IFVD


def test_ifvd_by_hand() -> None:
    """Class 0 holds (1, 0) and (0, 1): direction (1, 1), cosines 1 / sqrt 2; class 1 holds one cell: 1; ignored: 0."""
    features = torch.tensor([[[[1.0, 0.0, 5.0, 9.0]], [[0.0, 1.0, 5.0, 9.0]]]])
    masks = class_masks(torch.tensor([[[0, 0, 1, 255]]]), 2, (1, 4))
    half = 1 / math.sqrt(2)
    own = coherence_map(features, masks)
    assert_close(own, torch.tensor([[[half, half, 1.0, 0.0]]]))
    total, count = coherence_gap(own, torch.tensor([[[half, half, 0.0, 7.0]]]), masks.any(dim=1))
    assert total.item() == pytest.approx(1 / 3)
    assert count.item() == 1


def test_ifvd_against_loops() -> None:
    features = draw(0, B, 5, H, W)
    labels = torch.randint(0, K, (B, H, W), generator=torch.Generator().manual_seed(0))
    result = coherence_map(features, class_masks(labels, K, (H, W)))
    for b in range(B):
        for y in range(H):
            for x in range(W):
                own = labels[b] == labels[b, y, x]
                prototype = [features[b, c][own].mean().item() for c in range(5)]
                assert result[b, y, x].item() == pytest.approx(cosine(features[b, :, y, x].tolist(), prototype))


# CIRKD


def test_cirkd_by_hand() -> None:
    """Two orthogonal cells; a teacher with equal ones has uniform rows: KL((1/2, 1/2) || softmax(1, 0))."""
    student = torch.eye(2)[None]
    teacher = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    p = math.e / (1 + math.e)
    assert relation_gap(student, teacher, 1.0).item() == pytest.approx(
        0.5 * (math.log(0.5 / p) + math.log(0.5 / (1 - p)))
    )


def test_cirkd_against_loops() -> None:
    student, teacher = (grid_embeddings(draw(seed, B, 5, H, W), 2) for seed in (0, 1))
    assert_close(student.norm(dim=2), torch.ones(B, 4, dtype=torch.float64))
    for i in range(B):
        total = 0.0
        for j in range(B):
            for n in range(4):
                own, target = (
                    softmax([cosine(e[i, n].tolist(), e[j, m].tolist()) / 0.1 for m in range(4)])
                    for e in (student, teacher)
                )
                total += kl(target, own)
        assert relation_gap(student, teacher, 0.1)[i].item() == pytest.approx(total / (B * 4))


# DIST


def test_dist_by_hand() -> None:
    assert correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([10.0, 20.0, 30.0]), dim=0).item() == pytest.approx(
        1
    )
    assert correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([3.0, 2.0, 1.0]), dim=0).item() == pytest.approx(-1)
    assert correlation(torch.tensor([1.0, 1.0, 1.0]), torch.tensor([3.0, 2.0, 1.0]), dim=0).item() == 0
    logits = draw(0, B, K, H, W)
    assert_close(dist_gap(logits, logits, 1.0, inter_weight=1.0, intra_weight=1.0), torch.zeros(B, dtype=torch.float64))


def test_dist_against_loops() -> None:
    student, teacher = draw(0, B, K, H, W), draw(1, B, K, H, W)
    for b in range(B):
        own, target = (
            [softmax((z[b, :, y, x] / 2).tolist()) for y in range(H) for x in range(W)] for z in (student, teacher)
        )
        inter = sum(1 - pearson(s, t) for s, t in zip(own, target, strict=True)) / (H * W)
        intra = sum(1 - pearson([s[k] for s in own], [t[k] for t in target]) for k in range(K)) / K
        gap = dist_gap(student, teacher, 2.0, inter_weight=0.5, intra_weight=3.0)
        assert gap[b].item() == pytest.approx(4 * (0.5 * inter + 3 * intra))


# FSP


def test_fsp_by_hand() -> None:
    """Cells (1, 2) of one channel and (3, 4) of another: (1 * 3 + 2 * 4) / 2."""
    flow = flow_matrix(torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[3.0, 4.0]]]]))
    assert flow.item() == pytest.approx(5.5)


def test_fsp_against_loops() -> None:
    shallow, deep = draw(0, B, 3, H, W), draw(1, B, 2, H, W)
    flow = flow_matrix(shallow, deep)
    for b in range(B):
        for c in range(3):
            for d in range(2):
                cells = zip(shallow[b, c].flatten().tolist(), deep[b, d].flatten().tolist(), strict=True)
                assert flow[b, c, d].item() == pytest.approx(math.fsum(p * q for p, q in cells) / (H * W))


# IRG


def test_irg_by_hand() -> None:
    """Images at 0, 3 and 4 apart on a line: squares 9, 16, 1 twice over nine entries, mean 52 / 9."""
    expected = torch.tensor([[0.0, 9, 16], [9, 0, 1], [16, 1, 0]]) * 9 / 52
    assert_close(distance_matrix(torch.tensor([[0.0], [3.0], [4.0]])), expected)
    assert_close(distance_matrix(torch.tensor([[0.0], [3e-6], [4e-6]])), expected)
    assert_close(distance_matrix(torch.ones(1, 4)), torch.zeros(1, 1))
    assert_close(pooled_features(torch.tensor([[[[1.0, 2.0, 6.0]]]])), torch.tensor([[3.0]]))


def test_irg_transformation_by_hand() -> None:
    """The teacher's distances stay from layer to layer; the student's, as above, vanish: the mean of their squares."""
    line = torch.tensor([0.0, 3.0, 4.0]).view(3, 1, 1, 1).double()
    same = torch.ones(3, 1, 1, 1).double()
    logits, labels = draw(2, 3, K, 1, 1), torch.zeros(3, 1, 1, dtype=torch.long)
    student = NetworkOutput(logits, {"block2": line, "block3": same})
    teacher = NetworkOutput(logits, {"block2": line, "block3": line})
    relations = value(build("irg"), student, teacher, labels).item()
    squares = 2 * (9**2 + 16**2 + 1**2) / 9 * (9 / 52) ** 2
    assert relations == pytest.approx(squares)  # of the second layer
    both = value(build("irg", {"irg.transformation_weight": 3.0}), student, teacher, labels).item()
    assert both - relations == pytest.approx(3 * squares)


# Self-distillation and neighbours


def test_neighbour_targets_are_crossed() -> None:
    """The loss is 0 if the student's shallow layer equals the teacher's deep one, and the other way round."""
    shallow, deep = draw(0, B, 2, H, W), draw(1, B, 2, H, W)
    logits = draw(2, B, K, H, W)
    student = NetworkOutput(logits, {"block2": deep, "block3": shallow})
    teacher = NetworkOutput(logits, {"block2": shallow, "block3": deep})
    assert value(build("neighbour"), student, teacher).item() == pytest.approx(0, abs=1e-12)
    assert value(build("neighbour"), student, student).item() > 1e-6


def test_neighbour_by_hand() -> None:
    """Energies (0, log 3) and (log 3, 0) are maps (1/4, 3/4) and (3/4, 1/4); equal ones are (1/2, 1/2).

    The shallow layer against the teacher's deep one: 2 (1/4)^2; the deep one against its shallow one: 2 (1/2)^2.
    """
    root = math.sqrt(math.log(3))
    right, left, even = (
        torch.tensor([[[pair], [pair]]]) / math.sqrt(2) for pair in ([0.0, root], [root, 0.0], [1.0, 1.0])
    )
    student = NetworkOutput(draw(2, 1, K, 1, 2), {"block2": right, "block3": right})
    teacher = NetworkOutput(draw(2, 1, K, 1, 2), {"block2": left, "block3": even})
    labels = torch.zeros(1, 1, 2, dtype=torch.long)
    assert value(
        build("neighbour", {"neighbour.map": "sum", "neighbour.temperature": 1.0}), student, teacher, labels
    ).item() == pytest.approx(5 / 8)


def test_sad_by_hand() -> None:
    """Maps (1/4, 3/4) and (1/2, 1/2): 2 (1/4)^2."""
    right, even = torch.tensor([[[[0.0, math.sqrt(math.log(3))]]]]), torch.ones(1, 1, 1, 2)
    student = NetworkOutput(draw(2, 1, K, 1, 2), {"block2": right, "block3": even})
    labels = torch.zeros(1, 1, 2, dtype=torch.long)
    assert value(
        build("sad", {"sad.map": "sum", "sad.temperature": 1.0}), student, student, labels
    ).item() == pytest.approx(2 / 16)


def test_sad_is_zero_for_equal_attention_and_teaches_the_shallower_block() -> None:
    block = draw(0, B, 2, H, W)
    same = NetworkOutput(draw(2, B, K, H, W), {"block2": block, "block3": -block})
    assert value(build("sad"), same, same).item() == pytest.approx(0, abs=1e-12)
    shallow, deep = draw(0, B, 2, H, W).requires_grad_(), draw(1, B, 2, H, W).requires_grad_()
    output = NetworkOutput(draw(2, B, K, H, W), {"block2": shallow, "block3": deep})
    result = value(build("sad", {"sad.map": "sum", "sad.temperature": 1.0}), output, same)
    expected = sum(
        (a - b) ** 2
        for image in range(B)
        for a, b in zip(
            *(softmax(f[image].square().sum(dim=0).flatten().tolist()) for f in (shallow, deep)), strict=True
        )
    )
    assert result.item() == pytest.approx(expected / B)
    result.backward()
    assert shallow.grad is not None
    assert deep.grad is None


def test_dks_by_hand() -> None:
    """Side and main classifier say (1/2, 1/2) on one valid pixel: cross-entropy log 2, nothing to learn mutually."""
    term = build("dks", {"dks.blocks": ["block2"]}, num_classes=2)
    for parameter in term.parameters():
        torch.nn.init.zeros_(parameter)
    student = NetworkOutput(
        torch.zeros(1, 2, 1, 2).double(), {"block2": draw(0, 1, 2, 1, 2), "block3": draw(0, 1, 2, 1, 2)}
    )
    sums, counts = term(student, {}, torch.tensor([[[1, 255]]]))
    assert (sums / counts).sum().item() == pytest.approx(math.log(2))


def test_dks_synergy_by_hand() -> None:
    """The network says (3/4, 1/4), the side classifier (1/2, 1/2): beside log 2, the mean of KL either way."""
    term = build("dks", {"dks.blocks": ["block2"]}, num_classes=2)
    for parameter in term.parameters():
        torch.nn.init.zeros_(parameter)
    logits = torch.tensor([math.log(3.0), 0.0]).double().view(1, 2, 1, 1)
    student = NetworkOutput(logits, {"block2": draw(0, 1, 2, 1, 1), "block3": draw(0, 1, 2, 1, 1)})
    sums, counts = term(student, {}, torch.tensor([[[1]]]))
    learns = 0.5 * math.log(4 / 3)
    teaches = 0.75 * math.log(3 / 2) + 0.25 * math.log(1 / 2)
    assert (sums / counts).sum().item() == pytest.approx(math.log(2) + (learns + teaches) / 2)


# The terms that are built from these functions


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("kd", {}),
        ("cwd", {}),
        ("cwd", {"cwd.on": "features"}),
        ("at", {}),
        ("skd", {"skd.pixel_weight": 0.0}),
        ("fitnet", {}),
        ("ifvd", {}),
        ("cirkd", {}),
        ("dist", {}),
        ("fsp", {}),
        ("irg", {"irg.transformation_weight": 1.0}),
    ],
)
def test_student_equal_to_teacher_costs_nothing(name: str, options: dict[str, Any]) -> None:
    """Adapters are set to the identity. SKD's pixel-wise part is off: it would leave the teacher's entropy."""
    network, term = draw_output(0), build(name, options)
    for weight in term.parameters():
        torch.nn.init.dirac_(weight)
    assert value(term, network, network).item() == pytest.approx(0, abs=1e-6)


def test_skd_weights_its_parts() -> None:
    student, teacher = draw_output(0), draw_output(1)
    pixel = value(build("skd", {"skd.pair_weight": 0.0}), student, teacher)
    pair = value(build("skd", {"skd.pixel_weight": 0.0}), student, teacher)
    assert_close(pixel, 10 * pixel_gap(student.logits, teacher.logits, 1.0).mean())
    both = value(build("skd", {"skd.pixel_weight": 5.0, "skd.pair_weight": 2.0}), student, teacher)
    assert_close(both, pixel / 2 + 2 * pair)


@pytest.mark.parametrize("name", ["kd", "cwd", "dist"])
def test_stride_averages_the_logits_of_both(name: str) -> None:
    student, teacher = draw_output(0), draw_output(1)
    pooled_student, pooled_teacher = (
        NetworkOutput(torch.nn.functional.avg_pool2d(network.logits, 2), network.features)
        for network in (student, teacher)
    )
    strided = value(build(name, {f"{name}.stride": 2}), student, teacher)
    assert_close(strided, value(build(name), pooled_student, pooled_teacher))


@pytest.mark.parametrize("name", ["at", "ifvd", "cirkd", "irg", "attention", "affinity"])
def test_layer_weights_scale_the_pairs(name: str) -> None:
    student, teacher = draw_output(0), draw_output(1)
    first, second, both = (
        value(build(name, {"layer_weights": weights}), student, teacher)
        for weights in ([1.0, 0.0], [0.0, 1.0], [2.0, 0.5])
    )
    assert_close(both, 2 * first + 0.5 * second)


def build(name: str, options: Mapping[str, Any] | None = None, num_classes: int = K) -> Term:
    """A term on student layers block2, block3 and the teacher's of the same names, all at one size."""
    overrides: dict[str, Any] = {"distill.layers": [["block2", "block2"], ["block3", "block3"]]}
    overrides |= {"distill.sad.blocks": ["block2", "block3"], f"distill.{name}.weight": 1.0}
    overrides |= {f"distill.{path}": option for path, option in (options or {}).items()}
    settings: DistillSettings = with_overrides(StudySettings(), overrides).distill
    torch.manual_seed(0)
    channels = {"block2": 2, "block3": 2}
    return TERMS[name](settings, TermContext(num_classes, channels, channels)).double()


def draw_output(seed: int) -> NetworkOutput:
    features = {"block2": draw(seed + 10, B, 2, H, W), "block3": draw(seed + 20, B, 2, H, W)}
    return NetworkOutput(draw(seed, B, K, H, W), features)


def value(term: Term, student: NetworkOutput, teacher: NetworkOutput, labels: Tensor | None = None) -> Tensor:
    if labels is None:
        labels = torch.randint(0, K, (B, H, W), generator=torch.Generator().manual_seed(0))
    answers = teacher_answers(term.needs_of(term.settings), teacher, labels, K)
    result: TermResult = term(
        student,
        {key: answer.double() if answer.is_floating_point() else answer for key, answer in answers.items()},
        labels,
    )
    return (result.sums / result.counts.clamp_min(1)).sum()
