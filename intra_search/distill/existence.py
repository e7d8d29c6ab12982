"""The loss of the existence branch, which says which lanes a view has."""

# B images, L lanes

from torch import Tensor, nn

from intra_search.distill.term import TermResult
from intra_search.distill.unit import full_precision


def existence_loss(logits: Tensor, flags: Tensor) -> TermResult:
    """Binary cross-entropy of existence logits (B, L) against flags (B, L) of 0 and 1, over images and lanes.

    Flags of -1 are not known (frames without labels) and do not count.

    Sum and count, (1,) each; add both over workers, then divide. Raises ValueError when shapes differ."""
    if logits.shape != flags.shape:
        raise ValueError(f"existence logits {tuple(logits.shape)} and flags {tuple(flags.shape)} must match")
    logits = full_precision(logits)
    known = (flags >= 0).to(logits.dtype)
    target = flags.clamp(min=0).to(logits.dtype)
    total = nn.functional.binary_cross_entropy_with_logits(logits, target, weight=known, reduction="sum")
    return TermResult(total.reshape(1), known.sum().reshape(1))
