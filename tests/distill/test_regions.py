"""Regions: hand-drawn labels, a pixel-by-pixel oracle, properties."""

import math
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from intra_search.distill.functional import region_masks
from intra_search.distill.regions import Resize
from intra_search.errors import SettingError


def oracle(labels: Tensor, num_classes: int, kernel_size: int, size: tuple[int, int]) -> Tensor:
    """The definition, one pixel at a time."""
    batch, height, width = labels.shape
    reach = kernel_size // 2
    masks = torch.zeros(batch, num_classes, *size)
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                if labels[b, y, x] == 255:
                    continue
                box = labels[b, max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
                for i in range(size[0]):
                    if not math.floor(i * height / size[0]) <= y < math.ceil((i + 1) * height / size[0]):
                        continue
                    for j in range(size[1]):
                        if math.floor(j * width / size[1]) <= x < math.ceil((j + 1) * width / size[1]):
                            for k in box.unique().tolist():
                                if k < num_classes:
                                    masks[b, k, i, j] = 1
    return masks


def random_labels(height: int, width: int, num_classes: int, seed: int, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (batch, height, width), generator=generator)
    ignored = torch.rand(batch, height, width, generator=generator) < 0.2
    return labels.masked_fill(ignored, 255)


def test_hand_drawn() -> None:
    labels = torch.tensor([[[0, 0, 0, 0], [0, 1, 0, 255]]])
    masks = region_masks(labels, 3, 3, (2, 4))
    assert masks.dtype == torch.float32
    # Class 1 grows one pixel to every side; the ignored pixel drops out although class 0 would reach it.
    assert masks[0, 1].tolist() == [[1, 1, 1, 0], [1, 1, 1, 0]]
    assert masks[0, 0].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert masks[0, 2].tolist() == [[0, 0, 0, 0], [0, 0, 0, 0]]


def test_a_thin_line_keeps_its_cells_at_stride_8() -> None:
    labels = torch.zeros(1, 32, 32, dtype=torch.uint8)
    labels[:, 10:14] = 1
    assert region_masks(labels, 2, 1, (4, 4))[0, 1].tolist() == [[0] * 4, [1] * 4, [0] * 4, [0] * 4]


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 11])
@pytest.mark.parametrize("size", [(6, 8), (3, 4), (4, 5), (1, 1), (12, 16), (7, 9)])
def test_against_the_definition(kernel_size: int, size: tuple[int, int]) -> None:
    labels = random_labels(6, 8, 4, seed=kernel_size)
    # Sparse classes, so that not every region fills the map.
    labels = torch.where((labels == 1) | (labels == 255), labels, torch.where(labels == 2, 3, 0))
    assert torch.equal(region_masks(labels, 4, kernel_size, size), oracle(labels, 4, kernel_size, size))


@pytest.mark.parametrize("num_classes", [1, 2, 8, 9, 15, 16, 31, 32, 61, 62, 63, 124, 150])
def test_any_number_of_classes(num_classes: int) -> None:
    labels = torch.arange(num_classes).repeat(1, 3, 1).long()
    masks = region_masks(labels, num_classes, 1, (3, num_classes))
    assert torch.equal(masks[0], torch.eye(num_classes).unsqueeze(1).repeat(1, 3, 1))


def test_uint8_equals_int64_and_foreign_labels_belong_to_no_region() -> None:
    labels = random_labels(8, 8, 9, seed=0)
    expected = region_masks(labels, 5, 3, (4, 4))
    assert torch.equal(region_masks(labels.to(torch.uint8), 5, 3, (4, 4)), expected)
    # Classes 5..8 do not exist: such a pixel has no class, but regions may grow over it.
    nobody = torch.where((labels >= 5) & (labels != 255), -1, labels)
    assert torch.equal(region_masks(nobody, 5, 3, (4, 4)), expected)


def test_all_ignored_is_empty() -> None:
    assert_close(region_masks(torch.full((2, 8, 8), 255), 3, 5, (4, 4)), torch.zeros(2, 3, 4, 4))


@pytest.mark.parametrize(
    ("labels", "kernel_size", "message"),
    [
        (torch.zeros(1, 8, 8, dtype=torch.long), 4, "kernel_size: must be odd"),
        (torch.zeros(1, 8, 8), 5, r"labels: must be integers of shape \(B, H, W\)"),
        (torch.zeros(8, 8, dtype=torch.long), 5, "labels"),
    ],
)
def test_misuse_is_named(labels: Tensor, kernel_size: int, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        region_masks(labels, 2, kernel_size, (4, 4))


@pytest.mark.parametrize("resize", get_args(Resize))
@pytest.mark.parametrize("size", [(6, 8), (3, 4), (2, 8), (4, 5), (12, 16), (9, 7), (1, 1)])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_soft_and_hard_masks_agree_on_who_belongs(resize: Resize, size: tuple[int, int], kernel_size: int) -> None:
    """The soft masks go through torch's own resizing, the hard ones through windows of bits."""
    labels = random_labels(6, 8, 4, seed=3)
    labels = torch.where((labels == 1) | (labels == 255), labels, 0)
    hard = region_masks(labels, 3, kernel_size, size, resize=resize)
    soft = region_masks(labels, 3, kernel_size, size, soft=True, resize=resize)
    assert_close((soft > 1e-6).float(), hard)


def test_soft_masks_by_hand() -> None:
    labels = torch.tensor([[[0, 0, 0, 0], [0, 1, 0, 255]]])
    soft = region_masks(labels, 2, 3, (2, 4), soft=True)
    ninth = 1 / 9  # the box is 3 x 3 everywhere; beyond the border lies nothing
    assert_close(soft[0, 1], torch.tensor([[ninth, ninth, ninth, 0], [ninth, ninth, ninth, 0]]))
    assert_close(soft[0, 0, 0], torch.tensor([3 * ninth, 5 * ninth, 4 * ninth, 3 * ninth]))
    assert soft[0, 0, 1, 3] == 0


def test_background_can_be_left_out() -> None:
    labels = random_labels(6, 8, 4, seed=0)
    masks = region_masks(labels, 4, 3, (3, 4))
    foreground = region_masks(labels, 4, 3, (3, 4), background=False)
    assert not foreground[:, 0].any()
    assert torch.equal(foreground[:, 1:], masks[:, 1:])


def test_nearest_can_lose_a_thin_line() -> None:
    labels = torch.zeros(1, 32, 32, dtype=torch.uint8)
    labels[:, 8:11] = 1
    assert not region_masks(labels, 2, 1, (4, 4), resize="nearest")[0, 1].any()
    assert region_masks(labels, 2, 1, (4, 4))[0, 1].any()


def test_unknown_resize_rule_is_named() -> None:
    with pytest.raises(SettingError, match="resize: must be one of max, bilinear, nearest"):
        region_masks(random_labels(6, 8, 4, seed=0), 4, 3, (3, 4), resize="area")  # type: ignore[arg-type]
