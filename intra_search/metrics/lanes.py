"""Lanes read from probability maps, as CULane's test scripts do before the official F1 is taken.

Blur, existence, one point every 20 image rows, threshold; crops included (SCNN's main.m and getLane.m; the blur's
border as in cardwing's ERFNet). The scripts pass through 8-bit images in between; here the maps stay as they are.
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
    """How a map becomes lanes; the defaults are CULane's, uncropped."""

    image_size: tuple[int, int] = OFFICIAL_SIZE
    """Width and height of the whole image in pixels."""
    crop_top: int = 0
    """Image rows above the part that the network sees (240 in the paper's CULane crop)."""
    blur: int = 9
    """Side of the mean filter in cells of the map; 1 for none."""
    threshold: float = 0.3
    """A row's best cell is a point when its blurred probability is greater."""
    existence: float = 0.5
    """A lane is decoded when its existence probability is greater."""
    row_step: int = 20
    """Rows between two points in an image of the official height, 590; in proportion in others."""
    num_rows: int = 18
    """Rows looked at, from the bottom of the image."""


def decode_lanes(
    probabilities: FloatArray, existence: FloatArray | None = None, rule: LaneDecoding | None = None
) -> list[Lane]:
    """Lanes of one image: points (N, 2), N >= 2, as x, y in pixels of the whole image, bottom first.

    `probabilities` (K, h, w) are softmax maps of the background and K - 1 lanes; `existence` (K - 1,) the lanes'
    probabilities of being there, None for all. Lanes of fewer than two points are left out.
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
    """Halves away from zero, as MATLAB does for the positive numbers here."""
    return math.floor(value + 0.5)
