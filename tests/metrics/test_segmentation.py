"""Confusion, IoU and scores against hand values, a pixel-by-pixel loop, and the property that counts add up."""

import math

import pytest
import torch
from torch import Tensor

from intra_search.errors import SceneError
from intra_search.metrics.segmentation import confusion_matrix, iou, segmentation_scores


def _draw(seed: int, num_classes: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, num_classes, (4, 6, 7), generator=generator).to(torch.uint8)
    labels[torch.rand(labels.shape, generator=generator) < 0.2] = 255
    return labels, torch.randint(0, num_classes, (4, 6, 7), generator=generator)


def test_hand_value() -> None:
    labels = torch.tensor([[0, 0, 1, 1, 2, 255]], dtype=torch.uint8)
    predictions = torch.tensor([[0, 1, 1, 1, 0, 2]])
    confusion = confusion_matrix(labels, predictions, 4)
    assert confusion.dtype == torch.int64
    assert confusion.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    # class 0: 1 right, 2 in truth, 2 predicted -> 1/3; class 1: 2/3; class 2: 0/1; class 3 is nowhere
    assert iou(confusion).tolist()[:3] == pytest.approx([1 / 3, 2 / 3, 0.0])
    scores = segmentation_scores(confusion)
    assert scores.miou == pytest.approx(1 / 3)
    assert scores.class_iou == [pytest.approx(1 / 3), pytest.approx(2 / 3), 0.0, None]
    assert scores.pixel_accuracy == pytest.approx(3 / 5)
    assert scores.num_present == 3


def test_a_class_only_predicted_counts_as_zero() -> None:
    confusion = confusion_matrix(torch.zeros(4, dtype=torch.uint8), torch.tensor([0, 0, 0, 1]), 3)
    assert iou(confusion)[:2].tolist() == [0.75, 0.0]
    assert math.isnan(iou(confusion)[2])


@pytest.mark.parametrize("seed", range(5))
def test_equals_a_loop_over_pixels(seed: int) -> None:
    labels, predictions = _draw(seed)
    expected = torch.zeros(5, 5, dtype=torch.int64)
    for truth, guess in zip(labels.flatten().tolist(), predictions.flatten().tolist(), strict=True):
        if truth != 255:
            expected[truth, guess] += 1
    assert torch.equal(confusion_matrix(labels, predictions, 5), expected)


def test_parts_sum_to_the_whole() -> None:
    labels, predictions = _draw(7)
    parts = [confusion_matrix(label, guess, 5) for label, guess in zip(labels, predictions, strict=True)]
    assert torch.equal(torch.stack(parts).sum(dim=0), confusion_matrix(labels, predictions, 5))


def test_ignored_pixels_have_no_influence() -> None:
    labels, predictions = _draw(3)
    changed = torch.where(labels == 255, 99, predictions)
    assert torch.equal(confusion_matrix(labels, changed, 5), confusion_matrix(labels, predictions, 5))


def test_nothing_counted_is_nan() -> None:
    scores = segmentation_scores(confusion_matrix(torch.full((2, 2), 255), torch.zeros(2, 2, dtype=torch.int64), 3))
    assert math.isnan(scores.miou)
    assert math.isnan(scores.pixel_accuracy)
    assert scores.class_iou == [None, None, None]
    assert scores.num_present == 0


@pytest.mark.parametrize(("label", "guess"), [(3, 0), (0, 3), (0, -1), (0, 255)])
def test_foreign_values_are_refused(label: int, guess: int) -> None:
    with pytest.raises(SceneError, match=r"must be classes 0\.\.2"):
        confusion_matrix(torch.tensor([0, label]), torch.tensor([0, guess]), 3)


def test_shapes_must_agree() -> None:
    with pytest.raises(SceneError, match="must have the predictions' shape"):
        confusion_matrix(torch.zeros(2, 3, dtype=torch.uint8), torch.zeros(3, 2, dtype=torch.int64), 3)


def test_no_pixels_at_all() -> None:
    assert confusion_matrix(torch.zeros(0, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64), 2).tolist() == [
        [0, 0],
        [0, 0],
    ]
