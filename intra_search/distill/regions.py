"""Regions (areas of interest): the pixels of one class, grown by a box. Hou et al. 2020, section 3.1."""

# B images, K classes, H W label height and width, h w feature height and width, S words of 62 classes each

import torch
from torch import Tensor, nn

from intra_search.errors import SettingError

IGNORED = 255
CLASSES_PER_WORD = 62  # bits of an int64 that are free of the sign


def region_masks(labels: Tensor, num_classes: int, kernel_size: int, size: tuple[int, int]) -> Tensor:
    """Which cells of a feature map belong to which class's region: (B, K, h, w) float32 of 0 and 1.

    A pixel belongs to region k if any pixel of class k lies in the `kernel_size` box around it (the paper's averaging
    kernel followed by "> 0"; nothing lies beyond the border). Ignored pixels are removed after growing. A cell belongs
    if any pixel of its adaptive pooling window does.

    Args:
        labels: (B, H, W) integer class indices; 255 is ignored, other values outside 0..K-1 belong to no region.
        num_classes: K.
        kernel_size: odd side of the box in label pixels.
        size: (h, w) of the feature map.
    """
    check_labels(labels)
    check_kernel_size(kernel_size)
    # One bit per class: growing and pooling are ORs over windows, for all classes of a word in one operation.
    words_BSHW = _class_words(labels, num_classes)
    reach = kernel_size // 2
    words_BSHW = nn.functional.pad(words_BSHW, (reach, reach, reach, reach))
    for dim in (-1, -2):
        starts = torch.arange(labels.shape[dim], device=labels.device)
        words_BSHW = _window_or(words_BSHW, starts, starts + kernel_size, dim, shortest=kernel_size)
    words_BSHW = words_BSHW.masked_fill((labels == IGNORED).unsqueeze(1), 0)
    for dim, cells in ((-1, size[1]), (-2, size[0])):
        length = words_BSHW.shape[dim]
        starts, ends = _pooling_windows(length, cells, labels.device)
        words_BSHW = _window_or(words_BSHW, starts, ends, dim, shortest=-(-length // cells))
    return _unpack(words_BSHW, num_classes)


def check_labels(labels: Tensor) -> None:
    """Raises `SettingError` unless labels are (B, H, W) integers."""
    if labels.dim() != 3 or labels.is_floating_point():
        found = f"{tuple(labels.shape)} of {labels.dtype}"
        raise SettingError("labels", "must be integers of shape (B, H, W)", found, "pass class indices, 255 = ignored")


def check_kernel_size(kernel_size: int) -> None:
    """Raises `SettingError` unless the kernel has a centre."""
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise SettingError("kernel_size", "must be odd and >= 1", kernel_size, "the paper takes 5, the sketch 11")


def _class_words(labels: Tensor, num_classes: int) -> Tensor:
    """(B, S, H, W) int64: bit k % 62 of word k // 62 is set where the label is k."""
    labels_B1HW = labels.long().unsqueeze(1)
    num_words = -(-num_classes // CLASSES_PER_WORD)
    word_S11 = torch.arange(num_words, device=labels.device).view(-1, 1, 1)
    valid = (labels_B1HW >= 0) & (labels_B1HW < num_classes)
    here = valid & (labels_B1HW // CLASSES_PER_WORD == word_S11)
    return torch.where(here, 1 << (labels_B1HW % CLASSES_PER_WORD), 0)


def _unpack(words_BShw: Tensor, num_classes: int) -> Tensor:
    bits = torch.arange(CLASSES_PER_WORD, device=words_BShw.device).view(-1, 1, 1)
    masks = (words_BShw.unsqueeze(2) >> bits) & 1
    return masks.flatten(1, 2)[:, :num_classes].float()


def _pooling_windows(length: int, cells: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Windows of adaptive pooling: cell i covers floor(i L / n) up to ceil((i + 1) L / n)."""
    cell = torch.arange(cells, device=device)
    return cell * length // cells, ((cell + 1) * length + cells - 1) // cells


def _window_or(words: Tensor, starts: Tensor, ends: Tensor, dim: int, shortest: int) -> Tensor:
    """OR over windows [start, end) along one dimension, by doubling: as in a sparse table for range queries.

    Every window is the union of two spans of length 2^j. Boxes are of one length, pooling windows differ by at most
    one cell, so one j serves all: the largest span that fits the `shortest` window.
    """
    span = 1
    while 2 * span <= shortest:
        # Beyond the end the table repeats shorter spans; no window reads them.
        shifted = words.narrow(dim, span, words.shape[dim] - span)
        head = words.narrow(dim, 0, words.shape[dim] - span) | shifted
        words = torch.cat([head, words.narrow(dim, words.shape[dim] - span, span)], dim)
        span *= 2
    return words.index_select(dim, starts) | words.index_select(dim, ends - span)
