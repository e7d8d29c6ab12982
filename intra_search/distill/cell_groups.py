"""Cells of a batch that lie in the same regions, numbered: the partition over which sums are taken once.

Regions overlap, because they are grown, so sums over regions would visit a cell once per region, or multiply by mostly
zero masks. Groups do not overlap, there are few of them on road scenes, and each may be shifted by its own mean.
"""

# B images, K classes, S words of 24 classes, N = h w cells per image, G groups, P pairs (group, region that holds it)

from typing import NamedTuple

import torch
from torch import Tensor

CLASSES_PER_WORD = 24  # sums of distinct powers of two below 2^24 are exact in float32
CELLS_PER_BLOCK = 2048
"""Groups end at blocks of so many cells in scan order, so that no float32 sum runs over more: about 1e-6 each."""


class CellGroups(NamedTuple):
    """A partition of the B N cells of a batch, in image and scan order."""

    group_of_cell: Tensor
    """(B N,) int64, 0 .. G-1."""
    num_cells: Tensor
    """(G,) float32."""
    pair_group: Tensor
    """(P,) int64: the group of each pair."""
    pair_region: Tensor
    """(P,) int64: the region of each pair, image * K + class."""


def group_cells(masks_BKN: Tensor) -> CellGroups:
    """Groups the cells of hard masks (0 or 1) by the set of regions they lie in. Synchronises with the device."""
    num_images, num_classes, num_cells = masks_BKN.shape
    words_SM = _membership_words(masks_BKN)
    cell_M = torch.arange(num_images * num_cells, device=masks_BKN.device)
    # Blocks do not cross images: the image number is part of the first key.
    blocks_per_image = -(-num_cells // CELLS_PER_BLOCK)
    key_M = cell_M // num_cells * blocks_per_image + cell_M % num_cells // CELLS_PER_BLOCK
    # Runs of equal cells in scan order first: they are found without sorting, and few are left to be sorted.
    run_of_cell_M = _numbered(key_M, words_SM, runs=True)
    first_cell = _first_of_each(run_of_cell_M)
    group_of_run = _numbered(key_M[first_cell], words_SM[:, first_cell], runs=False)
    group_of_cell_M = group_of_run[run_of_cell_M]
    num_groups = int(group_of_run.max()) + 1
    sample = cell_M.new_empty(num_groups).scatter_(0, group_of_run, first_cell)
    image, cell = sample // num_cells, sample % num_cells
    pair_group, pair_class = masks_BKN[image, :, cell].nonzero(as_tuple=True)
    counts = torch.bincount(group_of_cell_M, minlength=num_groups).float()
    return CellGroups(group_of_cell_M, counts, pair_group, image[pair_group] * num_classes + pair_class)


def _membership_words(masks_BKN: Tensor) -> Tensor:
    """(S, B N) int64: bit k % 24 of word k // 24 says whether the cell lies in region k."""
    num_classes = masks_BKN.shape[1]
    class_K = torch.arange(num_classes, device=masks_BKN.device)
    powers_SK = masks_BKN.new_zeros(-(-num_classes // CLASSES_PER_WORD), num_classes)
    powers_SK[class_K // CLASSES_PER_WORD, class_K] = (2.0 ** (class_K % CLASSES_PER_WORD)).to(masks_BKN.dtype)
    with torch.autocast(masks_BKN.device.type, enabled=False):
        return torch.einsum("sk,bkn->sbn", powers_SK, masks_BKN).long().flatten(1)


def _numbered(key_M: Tensor, words_SM: Tensor, *, runs: bool) -> Tensor:
    """Numbers 0, 1, ... for equal (key, words), or for runs of them; a word at a time, so that keys fit 63 bits."""
    unique = torch.unique_consecutive if runs else torch.unique
    for word_M in words_SM:
        _, key_M = unique((key_M << CLASSES_PER_WORD) | word_M, return_inverse=True)
    return key_M


def _first_of_each(run_of_cell_M: Tensor) -> Tensor:
    """Index of the first cell of every run."""
    starts_M = torch.ones_like(run_of_cell_M, dtype=torch.bool)
    starts_M[1:] = run_of_cell_M[1:] != run_of_cell_M[:-1]
    return starts_M.nonzero().squeeze(1)
