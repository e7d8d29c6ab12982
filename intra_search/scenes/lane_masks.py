"""CULane's label masks, drawn from lane points: strokes 16 pixels broad (of 1640), numbered from far left to right."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from intra_search.scenes.lane_files import Lane

STROKE_SHARE = 16 / 1640
"""Width of a labelled lane as a share of the frame's: 16 pixels in the official masks."""
_EGO_LEFT, _EGO_RIGHT = 2, 3
_SHIFT = 4  # fractional bits of a drawn point


def draw_lane_mask(lanes: Mapping[int, Lane], height: int, width: int) -> NDArray[np.uint8]:
    """Labels (height, width): each lane's class along its points, 0 elsewhere; a higher class covers a lower one.

    The points are joined by straight lines. The official script draws a spline through them; for points ten rows apart
    that differs by less than a pixel, except in the sharpest bends."""
    mask = np.zeros((height, width), np.uint8)
    stroke = max(1, round(width * STROKE_SHARE))
    for label in sorted(lanes):
        points = np.rint(lanes[label].clip(-(2**15), 2**15) * 2**_SHIFT).astype(np.int32)
        if len(points) > 1:
            cv2.polylines(mask, [points], False, label, stroke, cv2.LINE_8, _SHIFT)
    return mask


def number_lanes(lanes: Sequence[Lane]) -> dict[int, Lane]:
    """Classes 1..4 by the lanes' slopes, as in CULane's labels: of the lanes that go to the left on their way down, the
    steepest is 2 and the next 1; of the others, the steepest is 3 and the next 4. Further lanes, and lanes of fewer
    than two points, have no class."""
    leaning = [(_lean(lane), lane) for lane in lanes if len(lane) > 1]
    left = sorted((pair for pair in leaning if pair[0] < 0), key=lambda pair: -pair[0])
    right = sorted((pair for pair in leaning if pair[0] >= 0), key=lambda pair: pair[0])
    numbered = {_EGO_LEFT - place: lane for place, (_, lane) in enumerate(left[:2])}
    return numbered | {_EGO_RIGHT + place: lane for place, (_, lane) in enumerate(right[:2])}


def _lean(lane: Lane) -> float:
    """Columns per row, downwards, of the best-fitting line; 0 if all points are on one row."""
    x, y = (lane - lane.mean(axis=0)).T
    spread = float(y @ y)
    return float(x @ y) / spread if spread else 0.0
