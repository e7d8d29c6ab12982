"""Weights from elsewhere for the teacher: the authors' released PSPNet, and torchvision's ImageNet backbones.

What is known of the authors' file comes from their training code (names, shapes, input, PyTorch 0.3.0). The file itself
was not available, so this is unverified: that it holds what that code saves (`epoch`, `arch`, `state_dict`,
`best_mIoU`, names that begin with `module.`); that its 37 classes are in the order of this tool's ApolloScape classes,
with the ignored one last; and that its layout did not change after the code was published.
"""

import io
import pickle
import re
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from intra_search.errors import CheckpointError, SettingError, StorageError
from intra_search.networks.backbone import DilatedResNet
from intra_search.networks.input import MEAN, STD
from intra_search.store.storage import Storage

FILE_SUFFIXES = (".pth", ".pth.tar", ".pt")
"""A checkpoint with such a name is a file of torch, not a folder of this tool."""

BGR_MEAN = (103.939, 116.779, 123.68)
"""What the authors subtract from blue, green and red bytes. They do not divide."""

_NAMES = (
    (r"base_model\.", "backbone."),
    (r"context_model\.conv2d_list\.(\d+)\.", r"pyramid.branches.\1.0."),
    (r"context_model\.bn2d_list\.(\d+)\.", r"pyramid.branches.\1.1."),
    (r"context_model\.out_conv2d\.", "head.0."),
    (r"context_model\.out_bn2d\.", "head.1."),
    (r"classifier\.", "head.4."),
)
"""Prefixes of the authors' names, and of ours for the same weights."""


def is_file(uri: str) -> bool:
    """Whether a checkpoint's URI names a file of torch."""
    return uri.partition("?")[0].endswith(FILE_SUFFIXES)


def load_released(network: nn.Module, uri: str) -> None:
    """Loads a file of the authors' PSPNet into ours, which must have `layout = "authors"`, adapted to our RGB input.

    Raises `CheckpointError` when it cannot be read, or its names or shapes are not the network's.
    """
    found = {_own_name(name): value for name, value in _state(uri).items()}
    own = network.state_dict()
    counters = [name for name in own if name.endswith("num_batches_tracked")]  # unknown to PyTorch 0.3
    found = {name: own[name] for name in counters} | found
    wrong = sorted(set(found) ^ set(own)) or sorted(name for name in own if own[name].shape != found[name].shape)
    if wrong:
        rule = "must be the authors' PSPNet with this study's depth, classes and 512 head channels"
        shapes = [tuple(state[wrong[0]].shape) if wrong[0] in state else "none" for state in (found, own)]
        remedy = 'set teacher.options.layout = "authors" and scenes.ignored_class = true, or train a teacher'
        raise CheckpointError(
            _where(uri), rule, f"{wrong[0]} {shapes[0]} for {shapes[1]} ({len(wrong)} in all)", remedy
        )
    network.load_state_dict(_for_rgb(found))


def load_imagenet(network: nn.Module, depth: int) -> None:
    """Copies torchvision's ImageNet weights of a ResNet into the backbone of a PSPNet or of a `LaneNetwork` around one.

    They are downloaded unless torch's cache has them. Raises `SettingError` when this machine can do neither.
    """
    backbone = next(module for module in network.modules() if isinstance(module, DilatedResNet))
    backbone.load_state_dict({name: value for name, value in imagenet_state(depth).items() if name[:2] != "fc"})


def imagenet_state(depth: int) -> dict[str, Tensor]:
    """torchvision's state dict of a ResNet trained on ImageNet: version 1, whose features are best for other tasks, and
    which torchvision's segmentation networks use, too. Raises what `load_imagenet` raises."""
    from torchvision.models import get_weight

    weights = get_weight(f"ResNet{depth}_Weights.IMAGENET1K_V1")
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        name = weights.url.rpartition("/")[2]
        rule = f"needs {name}, which this machine can neither fetch nor find"
        remedy = f"copy it to {torch.hub.get_dir()}/checkpoints/, or remove the setting"
        raise SettingError("teacher.pretrained", rule, f"{type(error).__name__}: {error}", remedy) from None


def depth_of(name: str) -> int:
    """The depth of a network's ResNet, which the network's name ends with."""
    return int(re.findall(r"\d+$", name)[0])


def _state(uri: str) -> dict[str, Tensor]:
    # The file holds its score as a NumPy number, which torch's safe reader must be told to accept.
    number = np.float64(0).__reduce__()[0]
    known: list[Any] = [number, (number, "numpy.core.multiarray.scalar"), np.dtype, np.dtypes.Float64DType]
    folder, _, name = uri.rpartition("/")
    try:
        data = Storage(folder or ".").read_bytes(name)
    except StorageError as error:
        raise CheckpointError(_where(uri), error.rule, error.found, error.remedy) from None
    try:
        with torch.serialization.safe_globals(known):
            content: Any = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        state = dict(content.get("state_dict", content))
        if not all(isinstance(value, Tensor) for value in state.values()):
            raise TypeError("it holds other things than tensors")
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, AttributeError, TypeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        remedy = "save its state_dict alone with torch.save, or train a teacher"
        raise CheckpointError(_where(uri), "must be a state dict saved by torch", reason, remedy) from None
    return state


def _where(uri: str) -> str:
    return f"teacher.checkpoint = {uri}"


def _own_name(name: str) -> str:
    name = name.removeprefix("module.")
    for theirs, ours in _NAMES:
        changed, count = re.subn(f"^{theirs}", ours, name)
        if count:
            return changed
    return name


def _for_rgb(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights that compute the same from our input, normalised RGB, as theirs from BGR bytes minus their mean.

    A channel of theirs is 255 * STD * ours + (255 * MEAN - their mean). The factor goes into the first convolution's
    weights; the rest, at most half a grey level, into the running mean after it. This is exact except at the border,
    where both networks pad with zeros, which mean different colours.
    """
    weight = state["backbone.conv1.weight"].flip(1)  # to RGB
    their_mean = weight.new_tensor(BGR_MEAN).flip(0)
    offset = 255 * weight.new_tensor(MEAN) - their_mean
    shift = (weight.sum(dim=(2, 3)) * offset).sum(dim=1)
    scaled = weight * (255 * weight.new_tensor(STD)).view(1, 3, 1, 1)
    mean = state["backbone.bn1.running_mean"] - shift
    return {**state, "backbone.conv1.weight": scaled, "backbone.bn1.running_mean": mean}
