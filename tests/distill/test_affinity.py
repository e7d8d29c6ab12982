"""Affinity graphs and their loss: values by hand, an oracle of explicit loops, properties, extremes."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from intra_search.distill.affinity import affinity_sum, centred_moments
from intra_search.distill.functional import (
    affinity_graph,
    affinity_loss,
    region_masks,
    region_moments,
    region_presence,
)
from intra_search.distill.moments import enough_cells
from intra_search.errors import SettingError


def oracle_loss(student: Tensor, teacher: Tensor, present: Tensor) -> float:
    """Mean squared gap of cosines between present regions, with Python floats, from moments (B, R, K, C)."""
    per_image = []
    for b in range(student.shape[0]):
        gaps = []
        for r in range(student.shape[1]):
            regions = [k for k in range(student.shape[2]) if present[b, r, k]]
            for k in regions:
                for m in regions:
                    pair = [_cosine(net[b, r, k].tolist(), net[b, r, m].tolist()) for net in (student, teacher)]
                    gaps.append((pair[0] - pair[1]) ** 2)
        if gaps:
            per_image.append(math.fsum(gaps) / len(gaps))
    return math.fsum(per_image) / len(per_image) if per_image else 0.0


def _cosine(a: list[float], b: list[float]) -> float:
    norms = math.sqrt(math.fsum(x * x for x in a)) * math.sqrt(math.fsum(x * x for x in b))
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / norms if norms else 0.0


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_graphs() -> tuple[Tensor, Tensor, Tensor]:
    student, teacher = draw(0, 3, 2, 5, 4), draw(1, 3, 2, 5, 7)
    present = draw(2, 3, 2, 5) > -0.3
    present[2] = False
    return student, teacher, present


def test_graph_by_hand() -> None:
    moments = torch.tensor([[[[3.0, 4.0], [6.0, 8.0], [-4.0, 3.0], [0.0, 0.0]]]])
    expected = torch.tensor([[[[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]]])
    assert_close(affinity_graph(moments), expected)


def test_loss_by_hand() -> None:
    """Orthogonal regions against parallel ones: the two off-diagonal entries of four differ by 1."""
    student = affinity_graph(torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]]))
    teacher = affinity_graph(torch.tensor([[[[1.0, 1.0], [2.0, 2.0]]]]))
    everyone = torch.ones(1, 1, 2, dtype=torch.bool)
    assert affinity_loss(student, teacher, everyone).item() == pytest.approx(2 / 4)
    alone = torch.tensor([[[True, False]]])
    assert affinity_loss(student, teacher, alone).item() == pytest.approx(0)


def test_against_the_oracle() -> None:
    student, teacher, present = random_graphs()
    loss = affinity_loss(affinity_graph(student), affinity_graph(teacher), present)
    assert loss.item() == pytest.approx(oracle_loss(student, teacher, present), rel=1e-12)


def test_properties() -> None:
    student, teacher, present = random_graphs()
    s, t = affinity_graph(student), affinity_graph(teacher)
    loss = affinity_loss(s, t, present)
    assert affinity_loss(s, s, present) == 0
    order = torch.tensor([3, 0, 4, 1, 2])
    assert_close(affinity_loss(s[:, :, order][..., order], t[:, :, order][..., order], present[:, :, order]), loss)
    assert_close(affinity_loss(s.repeat(3, 1, 1, 1), t.repeat(3, 1, 1, 1), present.repeat(3, 1, 1)), loss)
    assert_close(affinity_graph(5e-3 * student), s)  # scale of a region's moments is irrelevant
    absent = torch.where(present.unsqueeze(-1), s, 77.0)
    assert_close(affinity_loss(absent, t, present), loss)  # absent regions have no influence


def test_nothing_present_gives_zero_still_attached() -> None:
    moments = draw(0, 2, 1, 3, 4).requires_grad_()
    graph = affinity_graph(moments)
    loss = affinity_loss(graph, graph.detach() + 1, torch.zeros(2, 1, 3, dtype=torch.bool))
    assert loss == 0
    loss.backward()
    assert moments.grad is not None
    assert (moments.grad == 0).all()


def test_gradient_reaches_the_student_only() -> None:
    student, teacher, present = random_graphs()
    student.requires_grad_()
    teacher.requires_grad_()
    affinity_loss(affinity_graph(student), affinity_graph(teacher), present).backward()
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_gradcheck_from_features_to_loss() -> None:
    labels = torch.randint(0, 4, (2, 8, 8), generator=torch.Generator().manual_seed(0))
    labels[:, :2] = 255
    masks = region_masks(labels, 5, 3, (4, 4))
    present = region_presence(masks, (1, 2, 3))
    teacher = affinity_graph(region_moments(draw(1, 2, 6, 4, 4), masks, (1, 2, 3)))

    def loss(features: Tensor) -> Tensor:
        return affinity_loss(affinity_graph(region_moments(features, masks, (1, 2, 3))), teacher, present)

    assert torch.autograd.gradcheck(loss, (draw(0, 2, 3, 4, 4).requires_grad_(),))


def _cases() -> dict[str, tuple[Tensor, Tensor]]:
    """(features, labels) that break naive formulas."""
    checker = (torch.arange(8) % 2).repeat(2, 8, 1)
    noise = draw(0, 2, 3, 8, 8).float()
    one_cell = torch.zeros(2, 8, 8, dtype=torch.long)
    one_cell[:, 4, 4] = 1
    many = torch.arange(64).view(1, 8, 8).repeat(2, 1, 1) + 86
    return {
        "one-cell region": (noise, one_cell),
        "constant features": (torch.full((2, 3, 8, 8), 7.0), checker),
        "zero features": (torch.zeros(2, 3, 8, 8), checker),
        "one constant channel": (noise * torch.tensor([1.0, 0.0, 1.0]).view(3, 1, 1), checker),
        "all ignored": (noise, torch.full((2, 8, 8), 255)),
        "one image ignored": (noise, torch.cat([checker[:1], torch.full((1, 8, 8), 255)])),
        "features of 1e4": (noise * 1e4, checker),
        "features of 1e-6": (noise * 1e-6, checker),
        "features of 1e-20": (noise * 1e-20, checker),
        "features at 1e4 with spread 1": (noise + 1e4, checker),
        "batch of one": (noise[:1], checker[:1]),
        "150 classes": (noise, many),
    }


@pytest.mark.parametrize("case", list(_cases()))
@pytest.mark.parametrize("num_classes", [2, 150])
@pytest.mark.parametrize("autocast", [False, True])
def test_extremes_stay_finite(case: str, num_classes: int, autocast: bool) -> None:
    features, labels = _cases()[case]
    features = features.clone().requires_grad_()
    orders = (1, 2, 3, 4, 5, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        masks = region_masks(labels, num_classes, 1, (8, 8))
        teacher = affinity_graph(region_moments(draw(3, len(features), 5, 8, 8).float(), masks, orders))
        graph = affinity_graph(region_moments(features, masks, orders))
        loss = affinity_loss(graph, teacher, region_presence(masks, orders))
    loss.backward()
    assert graph.isfinite().all()
    assert graph.abs().max() <= 1 + 1e-5
    assert loss.isfinite()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_small_features_still_learn() -> None:
    """An absolute epsilon would swallow features of 1e-6, whose variance is 1e-12."""
    labels = (torch.arange(8) % 2).repeat(2, 8, 1)
    masks = region_masks(labels, 2, 1, (8, 8))
    features, teacher = draw(0, 2, 3, 8, 8).float(), draw(1, 2, 3, 8, 8).float()
    target = affinity_graph(region_moments(teacher, masks, (1, 2, 3)))
    losses = []
    for scale in (1.0, 1e-6):
        graph = affinity_graph(region_moments(features * scale, masks, (1, 2, 3)))
        losses.append(affinity_loss(graph, target, region_presence(masks, (1, 2, 3))).item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_mismatched_class_counts_are_named() -> None:
    with pytest.raises(SettingError, match="train the teacher with the student's classes"):
        affinity_loss(torch.zeros(1, 1, 5, 5), torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 5, dtype=torch.bool))


def test_centred_moments_by_hand() -> None:
    """Regions 0 and 1 have means (1, 0) and (3, 4), so less their mean (2, 2) they are opposite; region 2 is absent."""
    moments = torch.tensor([[[[1.0, 0.0], [3.0, 4.0], [0.0, 0.0]]]])
    cells = torch.tensor([[4, 9, 0]])
    centred = centred_moments(moments, cells, (1,))
    assert centred.tolist() == [[[[-1.0, -2.0], [1.0, 2.0], [0.0, 0.0]]]]
    assert_close(affinity_graph(centred)[0, 0, :2, :2], torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))


def test_centred_moments_of_equal_regions_are_zero_and_not_rounding_errors() -> None:
    row = torch.rand(1, 1, 1, 64, generator=torch.Generator().manual_seed(0))
    moments = row.repeat(1, 1, 7, 1).requires_grad_()
    centred = centred_moments(moments, torch.full((1, 7), 5), (1,))
    assert centred.abs().max() == 0
    affinity_graph(centred).sum().backward()
    assert moments.grad is not None
    assert torch.isfinite(moments.grad).all()


def test_pairs_and_orders_are_weighted_by_hand() -> None:
    """Gaps 1 on the diagonal and 4 beside it; cells 1 and 4 weigh pairs 1, 2, 2, 4; orders weigh 1 and 3."""
    student = torch.tensor([[1.0, 2.0], [2.0, 1.0]]).expand(1, 2, 2, 2)
    teacher = torch.zeros(1, 2, 2, 2)
    present = torch.tensor([[[True, True], [True, False]]])
    sizes = torch.tensor([[1, 4]])
    total, images = affinity_sum(student, teacher, present)
    assert total.item() == pytest.approx((2 * 1 + 2 * 4 + 1) / 5)
    assert images.item() == 1
    weighted = affinity_sum(student, teacher, present, order_weights=(1.0, 3.0))
    assert weighted[0].item() == pytest.approx((2 * 1 + 2 * 4 + 3 * 1) / (4 + 3))
    by_size = affinity_sum(student, teacher, present, sizes=sizes)
    assert by_size[0].item() == pytest.approx((1 + 4 + 2 * 2 * 4 + 1) / (1 + 4 + 2 * 2 + 1))


def test_least_cells_of_each_order() -> None:
    cells = torch.tensor([[0, 1, 2, 16, 64]])
    assert enough_cells(cells, (1, 2, 3, 5), (1, 16, 64)).tolist() == [
        [
            [False, True, True, True, True],
            [False, False, False, True, True],
            [False, False, False, False, True],
            [False, False, False, False, True],
        ]
    ]
    never_below = [[False, True, True, True, True], [False, False, True, True, True]]
    assert enough_cells(cells, (1, 2), (1,)).tolist() == [never_below]
