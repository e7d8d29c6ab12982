"""Regions (areas of interest): the pixels of one class, grown by a box. Hou et al. 2020, section 3.1."""

# B images, K classes, H W label height and width, h w feature height and width, S words of a bit per class

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from intra_search.errors import SettingError
from intra_search.scenes.labels import IGNORED

Resize = Literal["max", "bilinear", "nearest"]
WORDS = ((torch.uint8, 8), (torch.int16, 15), (torch.int32, 31), (torch.int64, 62))
"""Integer types for words, and how many classes (bits, without the sign) each holds."""


def region_masks(
    labels: Tensor,
    num_classes: int,
    kernel_size: int,
    size: tuple[int, int],
    *,
    soft: bool = False,
    background: bool = True,
    resize: Resize = "max",
) -> Tensor:
    """Which cells of a feature map belong to the region of each class: (B, K, h, w) float32, 0 or 1 unless `soft`.

    A pixel belongs to region k if any pixel of class k lies in the `kernel_size` box around it (the paper's averaging
    kernel followed by "> 0"; there are no pixels beyond the border). Ignored pixels are removed after growing. A cell
    belongs to a region if any pixel that `resize` reads for the cell does.

    Args:
        labels: (B, H, W) integer class indices; 255 is ignored, other values outside 0..K-1 belong to no region.
        num_classes: K.
        kernel_size: odd side of the box in label pixels.
        size: (h, w) of the feature map.
        soft: a pixel's value is the share of its box that has the class, in 0..1, as in the author's sketch. Needs
            memory for (B, K, H, W) floats.
        background: whether class 0 has a region; if not, its mask is empty.
        resize: which pixels a cell reads: "max" its window of adaptive pooling (a thin line keeps its cells),
            "bilinear" the pixels around its centre, "nearest" the pixel at its centre.
    """
    check_labels(labels)
    check_kernel_size(kernel_size)
    if resize not in get_args(Resize):
        raise SettingError(
            "resize", f"must be one of {', '.join(get_args(Resize))}", repr(resize), "max is the default"
        )
    masks = (_soft_masks if soft else _hard_masks)(labels, num_classes, kernel_size, size, resize)
    if not background:
        masks[:, 0] = 0
    return masks


def check_labels(labels: Tensor) -> None:
    """Raises `SettingError` unless labels are (B, H, W) integers."""
    if labels.dim() != 3 or labels.is_floating_point():
        found = f"{tuple(labels.shape)} of {labels.dtype}"
        raise SettingError("labels", "must be integers of shape (B, H, W)", found, "pass class indices, 255 = ignored")


def check_kernel_size(kernel_size: int) -> None:
    """Raises `SettingError` unless the kernel size is odd and positive."""
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise SettingError("kernel_size", "must be odd and >= 1", kernel_size, "the paper takes 5, the sketch 11")


def _hard_masks(labels: Tensor, num_classes: int, kernel_size: int, size: tuple[int, int], resize: Resize) -> Tensor:
    # One bit per class: growing and resizing are ORs over windows, which handle all classes of a word at once.
    words_BSHW = _class_words(labels, num_classes)
    reach = kernel_size // 2
    words_BSHW = nn.functional.pad(words_BSHW, (reach, reach, reach, reach))
    for dim in (-1, -2):
        words_BSHW = _box_or(words_BSHW, kernel_size, dim)
    words_BSHW = words_BSHW.masked_fill((labels == IGNORED).unsqueeze(1), 0)
    for dim, cells in ((-1, size[1]), (-2, size[0])):
        starts, ends, shortest = _windows(resize, words_BSHW.shape[dim], cells, labels.device)
        words_BSHW = _window_or(words_BSHW, starts, ends, dim, shortest)
    return _unpack(words_BSHW, num_classes)


def _soft_masks(labels: Tensor, num_classes: int, kernel_size: int, size: tuple[int, int], resize: Resize) -> Tensor:
    class_K11 = torch.arange(num_classes, device=labels.device).view(-1, 1, 1)
    share_BKHW = (labels.unsqueeze(1) == class_K11).float()
    share_BKHW = nn.functional.avg_pool2d(share_BKHW, kernel_size, stride=1, padding=kernel_size // 2)
    share_BKHW = share_BKHW.masked_fill((labels == IGNORED).unsqueeze(1), 0)
    if resize == "max":
        return nn.functional.adaptive_max_pool2d(share_BKHW, size)
    if resize == "bilinear":
        return nn.functional.interpolate(share_BKHW, size=size, mode="bilinear", align_corners=False)
    return nn.functional.interpolate(share_BKHW, size=size, mode="nearest-exact")


def _class_words(labels: Tensor, num_classes: int) -> Tensor:
    """(B, S, H, W): bit k % n of word k // n is set where the label is k; n bits per word, of the smallest type."""
    word, bits = next((narrow for narrow in WORDS if num_classes <= narrow[1]), WORDS[-1])
    class_K = torch.arange(num_classes, device=labels.device)
    num_words = -(-num_classes // bits)
    # At least one more row, of zeros, for labels that are no class. A row for every byte: then bytes need no test.
    words_KS = torch.zeros(max(num_classes + 1, 256), num_words, dtype=word, device=labels.device)
    words_KS[class_K, class_K // bits] = (1 << (class_K % bits)).to(word)
    index_BHW = labels.int()
    if labels.dtype != torch.uint8:
        index_BHW = index_BHW.masked_fill((labels < 0) | (labels >= num_classes), num_classes)
    # `index_select` takes a seventh of the time of indexing.
    words_SM = words_KS.t().contiguous().index_select(1, index_BHW.flatten())
    return words_SM.view(-1, *labels.shape).transpose(0, 1)


def _unpack(words_BShw: Tensor, num_classes: int) -> Tensor:
    bits = dict(WORDS)[words_BShw.dtype]
    bit_n11 = torch.arange(bits, dtype=words_BShw.dtype, device=words_BShw.device).view(-1, 1, 1)
    masks = (words_BShw.unsqueeze(2) >> bit_n11) & 1
    return masks.flatten(1, 2)[:, :num_classes].float()


def _windows(resize: Resize, length: int, cells: int, device: torch.device) -> tuple[Tensor, Tensor, int]:
    """Pixels [start, end) that each cell reads along one dimension, and the length of the shortest such window."""
    cell = torch.arange(cells, device=device)
    if resize == "max":  # adaptive pooling: from floor(i L / n) to ceil((i + 1) L / n)
        return cell * length // cells, ((cell + 1) * length + cells - 1) // cells, -(-length // cells)
    # Cell i's centre is ((2 i + 1) L - n) / (2 n) pixels from the first pixel's centre; whole numbers keep it exact.
    if resize == "nearest":
        start = ((2 * cell + 1) * length) // (2 * cells)
        return start, start + 1, 1
    offset = ((2 * cell + 1) * length - cells).clamp_min(0)
    start = offset // (2 * cells)
    between = (offset % (2 * cells) > 0).long()  # a cell centred on a pixel's centre reads that pixel alone
    return start, (start + 1 + between).clamp_max(length), 1


def _box_or(words: Tensor, kernel_size: int, dim: int) -> Tensor:
    """OR over every window of `kernel_size` along one dimension, which becomes shorter by kernel_size - 1."""
    span = 1
    while span < kernel_size:
        step = min(span, kernel_size - span)  # spans may overlap: an OR is the same
        words = words.narrow(dim, 0, words.shape[dim] - step) | words.narrow(dim, step, words.shape[dim] - step)
        span += step
    return words


def _window_or(words: Tensor, starts: Tensor, ends: Tensor, dim: int, shortest: int) -> Tensor:
    """OR over windows [start, end) along one dimension, whose lengths differ by at most one.

    Every window is the union of two spans of length 2^j, where 2^j is the longest that fits the `shortest` window (as
    in a sparse table for range queries).
    """
    span = 1 << (shortest.bit_length() - 1)
    words = _box_or(words, span, dim)
    return words.index_select(dim, starts) | words.index_select(dim, ends - span)
