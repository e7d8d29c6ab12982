"""The maps that a network normalises over a batch."""

from typing import Any

import torch
from torch import nn

from intra_search.networks.build import build_network


def smallest_normalised(name: str, options: dict[str, Any], height: int, width: int) -> int:
    """Cells per image of the smallest map that a BatchNorm of the network gets for images of this size."""
    cells: list[int] = []
    with torch.device("meta"):  # nothing is computed
        network = build_network(name, num_classes=2, **options)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.register_forward_pre_hook(lambda _, inputs: cells.append(inputs[0][0, 0].numel()))
        network.eval()(torch.empty(1, 3, height, width))
    return min(cells)
