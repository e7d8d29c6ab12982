"""The loss of the existence branch, which says which lanes a view has."""

# B images, L lanes

import torch
from torch import Tensor, nn

from intra_search.distill.term import TermResult
from intra_search.distill.unit import full_precision


def existence_loss(logits: Tensor, flags: Tensor) -> TermResult:
    """Binary cross-entropy of existence logits (B, L) against flags (B, L) of 0 and 1, over images and lanes.

    Sum and count, (1,) each; add both over workers, then divide. Raises ValueError when shapes differ."""
    if logits.shape != flags.shape:
        raise ValueError(f"existence logits {tuple(logits.shape)} and flags {tuple(flags.shape)} must match")
    logits = full_precision(logits)
    total = nn.functional.binary_cross_entropy_with_logits(logits, flags.to(logits.dtype), reduction="sum")
    return TermResult(total.reshape(1), torch.full_like(total, float(flags.numel())).detach().reshape(1))
