"""Predictions in each benchmark's submission format.

ApolloScape: `<road>/<image name>.png`, official ids at the frame's size. CULane: `<image name>.lines.txt`. LLAMAS:
`<recording>/<stamp>.json_<class>.png`, 255 times the probability of each class (binary task: class 1 alone), or, as the
authors submit, hard masks of 0 and 255. The official metric favours hard masks, so do not compare one with the other.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from intra_search.deploy.prediction import Predictor, resized_labels
from intra_search.errors import SettingError
from intra_search.metrics.lanes import LaneDecoding, decode_lanes
from intra_search.networks.output import EXISTENCE, NetworkOutput
from intra_search.scenes.labels import apolloscape_classes, file_id_table
from intra_search.scenes.lane_files import Lane, lanes_name, write_lanes
from intra_search.scenes.views import evaluation_view
from intra_search.scenes.writers.files import write_mask

_NUM_LANE_CLASSES = 5
_SMALLEST_OFFICIAL_WIDTH = 800  # columns of SCNN's maps; the authors' have 976


class Prediction(NamedTuple):
    """A network's output for one frame."""

    logits: Tensor
    """(K, h, w) float32 at the size of the network's input, on any device."""
    existence: NDArray[np.float32] | None
    """Probability that each lane exists; None: the network has no existence branch."""
    size: tuple[int, int]
    """Height and width of the whole frame."""
    cut: int
    """Rows cut from the top before the network saw the frame."""

    def whole(self) -> Tensor:
        """Logits (K, H - cut, W) at the frame's size, bilinear."""
        height, width = self.size
        batch = self.logits.unsqueeze(0)
        return nn.functional.interpolate(batch, (height - self.cut, width), mode="bilinear", align_corners=False)[0]


@torch.inference_mode()
def predicted(predictor: Predictor, image: NDArray[np.uint8]) -> Prediction:
    """A checkpoint's prediction for an RGB frame (H, W, 3) of any size."""
    height, width, _ = image.shape
    cut = predictor.cut(height, width)
    view = evaluation_view(image, np.zeros((height, width), np.uint8), predictor.scenes, cut)
    return predictions(predictor.output(view.image.unsqueeze(0)), [(height, width)], [cut])[0]


def predictions(output: NetworkOutput, sizes: Sequence[tuple[int, int]], cuts: Sequence[int]) -> list[Prediction]:
    """A batch's output as one prediction per frame, given each frame's (height, width) and rows cut from its top."""
    found = output.features.get(EXISTENCE)
    lanes = [None] * len(sizes) if found is None else list(found.float().sigmoid().cpu().numpy())
    rows = zip(output.logits.float(), lanes, sizes, cuts, strict=True)
    return [Prediction(logits, existence, size, cut) for logits, existence, size, cut in rows]


def train_ids(prediction: Prediction) -> NDArray[np.uint8]:
    """Classes (H, W) at the frame's size; rows above the crop are class 0."""
    labels = np.zeros(prediction.size, np.uint8)
    size = (prediction.size[0] - prediction.cut, prediction.size[1])
    labels[prediction.cut :] = resized_labels(prediction.logits, size).cpu().numpy()
    return labels


def apolloscape_ids(prediction: Prediction) -> NDArray[np.uint8]:
    """Official ids (H, W). A 37th class, trained from noise and ignored pixels, becomes 255 (ignored).

    Raises `SettingError` for a network with other classes."""
    known = len(apolloscape_classes())
    if len(prediction.logits) not in (known, known + 1):
        rule = f"a submission needs the {known} fine classes"
        raise SettingError("scenes.classes", rule, f"{len(prediction.logits)} classes", "train with classes = fine")
    table = file_id_table().copy()
    table[known] = table[255]
    return table[train_ids(prediction)]


def culane_lanes(prediction: Prediction) -> list[Lane]:
    """Lanes of a frame as CULane's test scripts read them from the maps, in pixels of the whole frame.

    The scripts blur over 9 x 9 cells of maps at least 800 wide. In smaller maps lanes are thinner and such a blur would
    remove them, so it is smaller for narrower maps. Without an existence branch all lanes with enough points are
    returned. Raises `SettingError` for a network with other classes."""
    _check_lane_classes(prediction)
    height, width = prediction.size
    rule = LaneDecoding(image_size=(width, height), crop_top=prediction.cut, blur=_blur(prediction.logits.shape[2]))
    return decode_lanes(prediction.logits.softmax(dim=0).cpu().numpy(), prediction.existence, rule)


def llamas_maps(prediction: Prediction, *, hard: bool) -> dict[str, NDArray[np.uint8]]:
    """Images (H, W) by class, "0" to "4", or "1" alone for the binary task. Rows above the crop are background.

    `hard`: 255 where the class is the most probable, else 0; otherwise 255 times its probability, rounded. Raises
    `SettingError` for a network with other classes."""
    num_classes = len(prediction.logits)
    if num_classes != 2:
        _check_lane_classes(prediction)
    shares = prediction.whole().softmax(dim=0)
    if hard:
        shares = nn.functional.one_hot(shares.argmax(dim=0), num_classes).permute(2, 0, 1).float()
    maps = np.zeros((num_classes, *prediction.size), np.uint8)
    maps[0] = 255
    maps[:, prediction.cut :] = (shares * 255).round().byte().cpu().numpy()
    return {str(index): maps[index] for index in range(num_classes) if num_classes > 2 or index == 1}


def write_apolloscape(out: Path, name: str, prediction: Prediction) -> Path:
    """One frame's ids; `name` is the scene's, `road02/Record001/Camera_5/…`."""
    road, *_, stem = name.split("/")
    return _write_png(out / road / f"{stem}.png", apolloscape_ids(prediction))


def write_culane(out: Path, name: str, prediction: Prediction) -> Path:
    """One frame's lanes; a frame without lanes gives an empty file."""
    path = out / lanes_name(f"{name}.jpg")
    write_lanes(path, culane_lanes(prediction))
    return path


def write_llamas(out: Path, name: str, prediction: Prediction, *, hard: bool) -> list[Path]:
    """One frame's images, one per class."""
    maps = llamas_maps(prediction, hard=hard)
    return [_write_png(out / f"{name}.json_{key}.png", image) for key, image in maps.items()]


def _blur(columns: int) -> int:
    """Side of the mean filter for maps of this width: odd, and at most CULane's."""
    widest = LaneDecoding().blur
    return min(widest, 2 * int(widest * columns / _SMALLEST_OFFICIAL_WIDTH / 2) + 1)


def _check_lane_classes(prediction: Prediction) -> None:
    if len(prediction.logits) != _NUM_LANE_CLASSES:
        found = f"{len(prediction.logits)} classes"
        raise SettingError("scenes.classes", "lanes need background and four classes", found, "use classes = fine")


def _write_png(path: Path, image: NDArray[np.uint8]) -> Path:
    write_mask(path, image)
    return path
