"""Every term is well-conditioned, whatever the network: features of 8 to 2048 channels, of 4 to 20,000 cells, 0.1 to 10
times as large, as He's initialisation makes them and as training leaves them."""

# B images of a batch, K classes, C channels, h w feature height and width

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from intra_search.config.parsing import with_overrides
from intra_search.config.study import StudySettings
from intra_search.distill.loss import StudentLoss
from intra_search.distill.needs import teacher_answers
from intra_search.distill.terms.table import TERMS
from intra_search.distill.workers import ALONE
from intra_search.networks import NetworkOutput

K = 5
WEIGHT = 0.5
NUM_STEPS = 8
MEASURED = (0, 1, 2, 4)
"""Steps that measure gradients; in the others the averages must hold."""


class Size(NamedTuple):
    images: int
    """More for small maps: batches of few cells have gradients of very different sizes, whatever the term."""
    channels: int
    height: int
    width: int


SIZES = (Size(32, 512, 2, 2), Size(16, 64, 20, 52))
LARGE_SIZES = (Size(4, 8, 100, 200), Size(8, 512, 10, 26), Size(32, 2048, 2, 2))
TERMS_AND_ORDERS = (*TERMS, "affinity 1", "affinity 2", "affinity 3")
FEATURES = ((False, 10.0), (True, 0.1))
"""Of He's initialisation or trained, and how many times as large."""


def cases(sizes: Sequence[Size]) -> pytest.MarkDecorator:
    # Regions of two cells have no skewness: it is exactly 0.
    found = [
        (name, size)
        for name in TERMS_AND_ORDERS
        for size in sizes
        if (name, size.height * size.width) != ("affinity 3", 4)
    ]
    ids = [f"{name}-{size.channels}x{size.height}x{size.width}" for name, size in found]
    return pytest.mark.parametrize(("name", "size"), found, ids=ids)


class Layers(nn.Module):
    """Three layers of one size and a classifier, of He's initialisation.

    `trained` leaves marks of a training: a third of the channels is dead, and the others differ in size by tens.
    """

    def __init__(self, size: Size, *, trained: bool) -> None:
        super().__init__()
        channels = size.channels
        self.layers = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(3))
        for layer in self.layers:
            assert isinstance(layer, nn.Conv2d)
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        scale_C = torch.ones(channels)
        if trained:
            scale_C = torch.exp(torch.randn(channels))
            scale_C[torch.randperm(channels)[: channels // 3]] = 0.0
        self.register_buffer("scale_C11", scale_C.view(-1, 1, 1))
        self.classifier = nn.Conv2d(channels, K, 1)
        self.feature_channels = dict.fromkeys(("block1", "block2", "block3"), channels)

    def forward(self, x: Tensor, factor: float) -> NetworkOutput:
        features = {}
        for number, layer in enumerate(self.layers, start=1):
            x = factor * self.get_buffer("scale_C11") * torch.relu(layer(x))
            features[f"block{number}"] = x
            x = x / factor
        return NetworkOutput(nn.functional.interpolate(self.classifier(x), scale_factor=2), features)


def pictures(size: Size, seed: int) -> tuple[Tensor, Tensor]:
    """(B, C, h, w) smooth inputs with texture, and labels (B, 2 h, 2 w) of strips of four classes that they show."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(size.images, size.channels, 4, 4, generator=generator)
    x = nn.functional.interpolate(coarse, (size.height, size.width), mode="bilinear", align_corners=True)
    x = x + 0.3 * torch.randn(x.shape, generator=generator)
    # No more strips than cells in a row: else every cell would lie in every region, and all regions be alike.
    strips = min(8, size.width)
    column = torch.arange(2 * size.width) * strips // (2 * size.width)
    classes = torch.randint(1, K, (size.images, strips), generator=generator)
    labels = torch.where(column % 2 == 0, 0, classes[:, column]).unsqueeze(1).expand(-1, 2 * size.height, -1)
    shown = nn.functional.interpolate(labels.unsqueeze(1).float(), (size.height, size.width), mode="nearest-exact")
    signs = torch.randn(K, size.channels, generator=generator)
    return x + signs[shown.squeeze(1).long()].permute(0, 3, 1, 2), labels.contiguous()


def loss_of(name: str, size: Size) -> StudentLoss:
    term, _, order = name.partition(" ")
    changes: dict[str, Any] = {f"distill.{other}.weight": 0.0 for other in TERMS}
    changes |= {"distill.layers": [["block2", "block2"], ["block3", "block3"]], f"distill.{term}.weight": WEIGHT}
    # Grown regions would cover the smallest map whole, so that all were equal.
    changes |= {"distill.affinity.kernel_size": 1, "distill.affinity.least_cells": [1]}
    if order:
        changes["distill.affinity.orders"] = [int(order)]
    settings = with_overrides(StudySettings(), changes)
    channels = dict.fromkeys(("block1", "block2", "block3"), size.channels)
    return StudentLoss(
        settings.distill,
        settings.training,
        num_classes=K,
        ignored_class=False,
        student_channels=channels,
        teacher_channels=channels,
    )


class Step(NamedTuple):
    """One training step's gradients at the term's feature."""

    task: Tensor
    term: Tensor
    """As weighted and balanced."""


def steps(name: str, size: Size, factor: float, *, trained: bool) -> Iterator[Step]:
    torch.manual_seed(0)
    student, teacher = Layers(size, trained=trained), Layers(size, trained=trained)
    student_loss = loss_of(name, size)
    for number in range(NUM_STEPS):
        x, labels = pictures(size, number)
        answers = teacher_answers(student_loss.needs(), teacher(x, 1.0), labels, K)
        output = student(x, factor)
        assert student_loss.measures(0.5) == (number in MEASURED)
        result = student_loss(output, labels, answers, ALONE, progress=0.5)
        (term,) = student_loss.terms.values()
        anchor = output.logits if term.anchor == "logits" else output.features[term.anchor]
        (both,) = torch.autograd.grad(result.loss, [anchor], retain_graph=True)
        task_loss = nn.functional.cross_entropy(output.logits, labels, student_loss.class_weights)
        (task,) = torch.autograd.grad(task_loss, [anchor])
        yield Step(task, both - task)


@pytest.mark.parametrize(("trained", "factor"), FEATURES, ids=["initialised", "trained"])
@cases(SIZES)
def test_a_balanced_term_pulls_as_hard_as_its_weight_says(name: str, size: Size, trained: bool, factor: float) -> None:
    """Over the steps that measure nothing, the root mean square of its gradient is within half and twice the weight in
    units of the task's."""
    found = [step for number, step in enumerate(steps(name, size, factor, trained=trained)) if number not in MEASURED]
    assert all(torch.isfinite(step.term).all() for step in found)
    task, term = (sum(float(part.square().sum()) for part in parts) for parts in zip(*found, strict=True))
    assert 0.5 * WEIGHT <= (term / task) ** 0.5 <= 2 * WEIGHT


@pytest.mark.drill
@pytest.mark.parametrize("factor", [0.1, 10.0])
@pytest.mark.parametrize("trained", [False, True], ids=["initialised", "trained"])
@cases(LARGE_SIZES)
def test_so_it_does_with_many_cells_or_channels(name: str, size: Size, trained: bool, factor: float) -> None:
    test_a_balanced_term_pulls_as_hard_as_its_weight_says(name, size, trained, factor)
