"""Lanes read from probability maps, as CULane's test scripts read them before the official F1 is computed.

Blur, existence, one point every 20 image rows, threshold, also for cropped images (SCNN's main.m and getLane.m; the
border of the blur as in cardwing's ERFNet). The scripts round maps to 8 bits in between; here they are not rounded.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from intra_search.errors import SceneError
from intra_search.metrics.culane import OFFICIAL_SIZE
from intra_search.scenes.lane_files import Lane

FloatArray = npt.NDArray[np.floating]


class LaneDecoding(NamedTuple):
    """How a map becomes lanes; the defaults are CULane's, without a crop."""

    image_size: tuple[int, int] = OFFICIAL_SIZE
    """Width and height of the whole image in pixels."""
    crop_top: int = 0
    """Image rows above the part that the network sees (240 in the paper's CULane crop)."""
    blur: int = 9
    """Side of the mean filter in cells of the map; 1 for none."""
    threshold: float = 0.3
    """The best cell of a row is a point if its blurred probability is greater."""
    existence: float = 0.5
    """A lane is decoded if its existence probability is greater."""
    row_step: int = 20
    """Rows between two points in an image of the official height, 590; scaled for other heights."""
    num_rows: int = 18
    """Rows that are read, from the bottom of the image."""


def decode_lanes(
    probabilities: FloatArray, existence: FloatArray | None = None, rule: LaneDecoding | None = None
) -> list[Lane]:
    """Lanes of one image: points (N, 2), N >= 2, as x, y in pixels of the whole image, bottom first.

    `probabilities` (K, h, w) are softmax maps of the background and K - 1 lanes; `existence` (K - 1,) the probability
    that each lane exists, None if all do. Lanes of fewer than two points are left out.
    """
    rule = rule or LaneDecoding()
    num_lanes = len(probabilities) - 1
    if existence is not None and len(existence) != num_lanes:
        raise SceneError("existence", f"must have one value for each of {num_lanes} lanes", len(existence), "check it")
    lanes = []
    for index, lane_map in enumerate(probabilities[1:]):
        if existence is None or existence[index] > rule.existence:
            lane = _decode_lane(np.ascontiguousarray(lane_map, np.float32), rule)
            if len(lane) >= 2:
                lanes.append(lane)
    return lanes


def _decode_lane(lane_map: npt.NDArray[np.float32], rule: LaneDecoding) -> Lane:
    """Points (N, 2) of one lane's map (h, w)."""
    height, width = lane_map.shape
    image_width, image_height = rule.image_size
    seen_rows = image_height - rule.crop_top
    row_step = rule.row_step * image_height / OFFICIAL_SIZE[1]
    smooth = np.asarray(cv2.blur(lane_map, (rule.blur, rule.blur)))
    points = []
    for step in range(rule.num_rows):
        row = _round(height - step * row_step / seen_rows * height) - 1
        if row < 0:
            break
        column = int(smooth[row].argmax())
        if smooth[row, column] > rule.threshold:
            x = _round((column + 1) * image_width / width) - 1
            points.append((x, image_height - step * row_step - 1))
    return np.array(points, np.float64).reshape(-1, 2)


def _round(value: float) -> int:
    """Rounds halves up, as MATLAB does for positive numbers."""
    return math.floor(value + 0.5)
