"""Networks by name."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from torch import nn

from intra_search.errors import SettingError
from intra_search.networks.enet import ENet
from intra_search.networks.erfnet import ERFNet
from intra_search.networks.existence import LaneNetwork
from intra_search.networks.pspnet import PSPNet
from intra_search.networks.resnet import SegmentationResNet

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "erfnet": ERFNet,
    "enet": ENet,
    "resnet18": partial(SegmentationResNet, depth=18),
    "pspnet_resnet18": partial(PSPNet, depth=18),
    "pspnet_resnet34": partial(PSPNet, depth=34),
    "pspnet_resnet50": partial(PSPNet, depth=50),
    "pspnet_resnet101": partial(PSPNet, depth=101),
}
"""All return a `NetworkOutput` and have `feature_channels: dict[str, int]`, the channels of each named feature."""


class NetworkRecipe(NamedTuple):
    """All that is needed to build a network again; stored in checkpoints."""

    name: str
    num_classes: int
    options: dict[str, Any]
    """Further arguments of `build_network`."""
    num_lanes: int = 0
    """Lanes of its existence branch; 0: it has no such branch."""
    input_size: tuple[int, int] | None = None
    """Height and width of the images that its existence branch takes."""

    def build(self) -> nn.Module:
        """The network with fresh weights; see `build_network`."""
        network = build_network(self.name, self.num_classes, **self.options)
        if not self.num_lanes or self.input_size is None:
            return network
        return LaneNetwork(network, self.num_lanes, self.input_size)

    @classmethod
    def of_json(cls, row: dict[str, Any]) -> "NetworkRecipe":
        """A recipe from the JSON form of its `_asdict()`."""
        size = row.get("input_size")
        return cls(**{**row, "input_size": (size[0], size[1]) if size else None})


def build_network(name: str, num_classes: int, **options: object) -> nn.Module:
    """A network with fresh weights, drawn from torch's global generator (`torch.manual_seed`).

    Raises `SettingError` for an unknown name or an option that the network does not have.
    """
    if name not in NETWORKS:
        raise SettingError("network", "unknown name", repr(name), f"known: {', '.join(NETWORKS)}")
    known = network_options(name)
    for option in options:
        if option not in known:
            raise SettingError(f"network {name}", "has no such option", repr(option), f"it has: {', '.join(known)}")
    if num_classes < 1:
        raise SettingError(f"network {name}", "num_classes must be >= 1", num_classes, "count the data set's classes")
    return NETWORKS[name](num_classes, **options)


def network_options(name: str) -> tuple[str, ...]:
    """Names of the options that `build_network` takes for a known network."""
    builder = NETWORKS[name]
    fixed = set(builder.keywords) if isinstance(builder, partial) else set()
    return tuple(option for option in inspect.signature(builder).parameters if option not in {"num_classes", *fixed})
