"""Fragments: the sets of cells into which the borders of the regions cut an image. Sums are taken over each once.

Regions overlap, because they are grown. Summing region by region would visit a cell once per region, or multiply by
masks that are mostly zero. Fragments do not overlap, and road scenes have few. Each can be shifted by its own mean.
"""

# B images, K classes, S words of 24 classes, N = h w cells per image, M = B N cells of the batch, F fragments,
# P pairs (fragment, region that holds it)

from typing import NamedTuple

import torch
from torch import Tensor

CLASSES_PER_WORD = 24  # sums of distinct powers of two below 2^24 are exact in float32
CELLS_PER_BLOCK = 2048
"""A fragment never spans two blocks of this many cells in scan order: so no float32 sum has more terms (error 1e-6)."""


class Fragments(NamedTuple):
    """Every cell of a batch (image after image, in scan order) lies in exactly one fragment."""

    fragment_of_cell: Tensor
    """(B N,) int64, 0 .. F-1."""
    num_cells: Tensor
    """(F,) float32: cells of each fragment."""
    pair_fragment: Tensor
    """(P,) int64: the fragment of each pair."""
    pair_region: Tensor
    """(P,) int64: the region of each pair, image * K + class."""


def fragments_of(masks_BKN: Tensor) -> Fragments:
    """Cells with the same regions share a fragment. Masks are 0 or 1."""
    num_images, num_classes, num_cells = masks_BKN.shape
    words_SM = _membership_words(masks_BKN)
    cell_M = torch.arange(num_images * num_cells, device=masks_BKN.device)
    # Blocks do not cross images: the image number is part of the first key.
    blocks_per_image = -(-num_cells // CELLS_PER_BLOCK)
    key_M = cell_M // num_cells * blocks_per_image + cell_M % num_cells // CELLS_PER_BLOCK
    # First join neighbours in scan order that are equal: that needs no sorting, and leaves few runs to sort.
    run_of_cell_M = _numbered(key_M, words_SM, runs=True)
    first_cell = _first_of_each(run_of_cell_M)
    fragment_of_run = _numbered(key_M[first_cell], words_SM[:, first_cell], runs=False)
    fragment_of_cell_M = fragment_of_run[run_of_cell_M]
    num_fragments = int(fragment_of_run.max()) + 1
    sample = cell_M.new_empty(num_fragments).scatter_(0, fragment_of_run, first_cell)
    image, cell = sample // num_cells, sample % num_cells
    pair_fragment, pair_class = masks_BKN[image, :, cell].nonzero(as_tuple=True)
    counts = torch.bincount(fragment_of_cell_M, minlength=num_fragments).float()
    return Fragments(fragment_of_cell_M, counts, pair_fragment, image[pair_fragment] * num_classes + pair_class)


def _membership_words(masks_BKN: Tensor) -> Tensor:
    """(S, B N) int64: bit k % 24 of word k // 24 says whether the cell lies in region k."""
    num_classes = masks_BKN.shape[1]
    class_K = torch.arange(num_classes, device=masks_BKN.device)
    powers_SK = masks_BKN.new_zeros(-(-num_classes // CLASSES_PER_WORD), num_classes)
    powers_SK[class_K // CLASSES_PER_WORD, class_K] = (2.0 ** (class_K % CLASSES_PER_WORD)).to(masks_BKN.dtype)
    with torch.autocast(masks_BKN.device.type, enabled=False):
        return torch.einsum("sk,bkn->sbn", powers_SK, masks_BKN).long().flatten(1)


def _numbered(key_M: Tensor, words_SM: Tensor, *, runs: bool) -> Tensor:
    """Numbers (0, 1, ...) of distinct (key, words), or of runs of equal ones. A word at a time, so keys fit 63 bits."""
    unique = torch.unique_consecutive if runs else torch.unique
    for word_M in words_SM:
        _, key_M = unique((key_M << CLASSES_PER_WORD) | word_M, return_inverse=True)
    return key_M


def _first_of_each(run_of_cell_M: Tensor) -> Tensor:
    """Index of the first cell of every run."""
    starts_M = torch.ones_like(run_of_cell_M, dtype=torch.bool)
    starts_M[1:] = run_of_cell_M[1:] != run_of_cell_M[:-1]
    return starts_M.nonzero().squeeze(1)
