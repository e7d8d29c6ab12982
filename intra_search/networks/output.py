"""What every network returns."""

from typing import NamedTuple

from torch import Tensor

EXISTENCE = "existence"
"""Name of the feature that holds the logits (B, L) of an existence branch, in networks that have one."""


DECODER = "decoder"
"""Name of the feature between encoder and classifier, in every network; each says which of its own it is."""
PENULTIMATE = "penultimate"
"""Name of the feature that the classifier reads, before any dropout, in every network."""


class NetworkOutput(NamedTuple):
    """Logits and the named feature maps that distillation reads.

    `logits` is (B, K, H, W) at the size of the input; `features` maps a block's name to its (B, C, h, w) output.
    """

    logits: Tensor
    features: dict[str, Tensor]
