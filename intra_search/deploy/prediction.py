"""Predictions of a trained student for pictures: labels at the picture's own size."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from intra_search.config.parsing import parse_settings, with_overrides
from intra_search.config.scenes import ScenesSettings
from intra_search.errors import SettingError
from intra_search.networks.checkpoint import load_network
from intra_search.networks.input import normalise
from intra_search.networks.output import NetworkOutput
from intra_search.networks.placement import place
from intra_search.scenes.labels import SceneClass
from intra_search.scenes.sources import SOURCES
from intra_search.scenes.views import evaluation_view
from intra_search.store.storage import Storage


class Predictor:
    """A checkpoint's network, with the crop and size of its training or of other scenes; in float32, on the GPU if
    there is one."""

    def __init__(self, checkpoint: str, scenes: ScenesSettings | None = None) -> None:
        self.place = place("off", use_gpu=torch.cuda.is_available())
        network, self.about = load_network(Storage(checkpoint), "")
        self.network: nn.Module = self.place.network(network)
        self.classes = tuple(_scene_class(row) for row in self.about["classes"])
        self.scenes: ScenesSettings = scenes or scenes_of(self.about)

    @torch.inference_mode()
    def labels(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Class indices (H, W) of an RGB picture (H, W, 3) of any size.

        Rows above the crop are class 0. Logits, not labels, are resized back, so that borders stay smooth.
        """
        height, width, _ = image.shape
        cut = self.cut(height, width)
        unknown = np.zeros((height, width), np.uint8)
        view = evaluation_view(image, unknown, self.scenes, cut)
        logits = self.output(view.image.unsqueeze(0)).logits[0]
        unknown[cut:] = resized_labels(logits, (height - cut, width)).cpu().numpy()
        return unknown

    @torch.inference_mode()
    def output(self, images: Tensor) -> NetworkOutput:
        """The network's output for images (B, 3, H, W) uint8 of its input size."""
        found: NetworkOutput = self.network(normalise(self.place.images(images)))
        return found

    def cut(self, height: int, width: int) -> int:
        """Rows to drop from the top of a frame of this size."""
        share = self.scenes.crop_top
        if share == "paper":
            source: Any = SOURCES[self.scenes.dataset]
            return int(source.paper_crop_top(height, width))
        return round(share * height)


def scenes_of(about: dict[str, Any], changes: Mapping[str, Any] | None = None) -> ScenesSettings:
    """Settings of the scenes that a checkpoint was trained on, with changes (`scenes.root` ...).

    Raises `SettingError` for a path that is no setting of scenes, or a wrong value."""
    other = [path for path in changes or {} if not path.startswith("scenes.")]
    if other:
        remedy = "the checkpoint's network and training cannot be changed any more"
        raise SettingError(other[0], "only scenes.* may be set here", "another setting", remedy)
    # The scenes alone: rules between them and other settings do not matter for a finished training.
    settings = parse_settings({"scenes": about["settings"]["scenes"]}, "checkpoint")
    return with_overrides(settings, changes or {}, "--set").scenes


def resized_labels(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Most probable classes (H, W) uint8 of logits (K, h, w) resized bilinearly to `size`; of equals, the first class.

    It goes class by class: for 3384 x 1710 pixels and 36 classes that is 3 times as fast as one argmax over all
    (measured on a CPU) and takes 46 MB instead of 830."""
    resized = (
        nn.functional.interpolate(layer[None, None], size, mode="bilinear", align_corners=False)[0, 0]
        for layer in logits.float()
    )
    highest = next(resized)
    labels = torch.zeros(size, dtype=torch.uint8, device=logits.device)
    for index, layer in enumerate(resized, start=1):
        labels.masked_fill_(layer > highest, index)
        highest = torch.maximum(highest, layer)
    return labels


def _scene_class(row: dict[str, Any]) -> SceneClass:
    return SceneClass(row["name"], row["category"], tuple(row["color"]))
