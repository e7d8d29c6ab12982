"""What every network returns."""

from typing import NamedTuple

from torch import Tensor

EXISTENCE = "existence"
"""Name under which a network with an existence branch adds that branch's logits (B, L) to its features."""


class NetworkOutput(NamedTuple):
    """Logits and the named feature maps that distillation reads.

    `logits` is (B, K, H, W) at the size of the input; `features` maps a block's name to its (B, C, h, w) output.
    """

    logits: Tensor
    features: dict[str, Tensor]
