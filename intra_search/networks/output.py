"""What every network returns."""

from typing import NamedTuple

from torch import Tensor

EXISTENCE = "existence"
"""Name of the feature that holds the logits (B, L) of an existence branch, in networks that have one."""


class NetworkOutput(NamedTuple):
    """Logits and the named feature maps that distillation reads.

    `logits` is (B, K, H, W) at the size of the input; `features` maps a block's name to its (B, C, h, w) output.
    """

    logits: Tensor
    features: dict[str, Tensor]
