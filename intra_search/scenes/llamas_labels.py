"""LLAMAS' label files: markers as 3-D line segments in JSON, and the label masks drawn from them.

The masks are the same, pixel for pixel, as those of the data set's own scripts (unsupervised_llamas, label_scripts).
Labels show dashes: each marker is one quad, and nothing is drawn between two markers.
"""

import json
from pathlib import Path
from typing import Annotated, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from intra_search.errors import SceneError
from intra_search.scenes.files import read_text

SIZE = (1276, 717)
"""Width and height of a LLAMAS frame in pixels."""
CLASSES = ("background", "l1", "l0", "r0", "r1")
"""Class indices 0..4: the two lane dividers on either side of the camera, outer left to outer right."""
MARKER_WIDTH = 0.1
"""Width of a drawn marker in metres."""
FARTHEST = 1e5
"""Pixels from the frame's corner. No camera sees a marker beyond, and OpenCV would go through every row up to it."""
_MIN_ROWS = 20  # a lane's markers must start at least this many rows apart
_MIN_MARKERS = 2

Mask = npt.NDArray[np.uint8]
Number = Annotated[float, Field(allow_inf_nan=False)]
Row = tuple[Number, Number, Number]

# The scripts' colours, blue-green-red. They matter where quads of two lanes overlap: a blended edge pixel belongs to a
# class only if its colour happens to be that of the class.
_COLOURS = {
    "l6": (75, 25, 230),
    "l5": (75, 180, 60),
    "l4": (200, 130, 0),
    "l3": (48, 130, 245),
    "l2": (180, 30, 145),
    "l1": (0, 0, 255),
    "l0": (24, 140, 34),
    "r0": (255, 0, 0),
    "r1": (0, 255, 255),
    "r2": (40, 110, 170),
    "r3": (200, 250, 255),
    "r4": (255, 190, 230),
    "r5": (0, 0, 128),
    "r6": (195, 255, 170),
    "r7": (0, 128, 128),
    "r8": (195, 255, 170),
}
_FARTHER = (75, 25, 230)  # lanes that the scripts' table lacks; they are in no class


class _Part(BaseModel):
    """Part of a label file; numbers may be written as strings, other keys are ignored."""

    model_config = ConfigDict(frozen=True)


class PixelPoint(_Part):
    """A point of the image in pixels."""

    x: Number
    y: Number


class WorldPoint(_Part):
    """A point in front of the camera in metres: x to the right, y down, z forward."""

    x: Number
    y: Number
    z: Number


class Marker(_Part):
    """One painted dash, from its near to its far end."""

    world_start: WorldPoint
    world_end: WorldPoint
    pixel_start: PixelPoint


class LabelledLane(_Part):
    """The markers of one lane divider."""

    lane_id: Annotated[str, Field(pattern=r"^[lr]\d+$")]
    markers: Annotated[list[Marker], FailFast()]


class _File(_Part):
    projection_matrix: tuple[Row, Row, Row]
    lanes: Annotated[list[LabelledLane], FailFast()]


class LlamasLabel(NamedTuple):
    """A cleaned label: short lanes dropped, the others numbered outwards from the camera."""

    projection: npt.NDArray[np.float64]
    """(3, 3): from metres in front of the camera to pixels."""
    lanes: list[LabelledLane]
    """In the file's order: later lanes are drawn over earlier ones."""


def read_label(path: Path) -> LlamasLabel:
    """Reads and cleans one label file as the official scripts do.

    Lanes whose markers start within less than 20 rows, or with fewer than two markers, are dropped; the others are
    renamed l0, l1, … and r0, r1, … outwards. Raises SceneError, naming the file and the entry.
    """
    text = read_text(path, "must be a readable label file", "check the path")
    try:
        content = _File.model_validate(json.loads(text))
    except ValidationError as error:
        first = error.errors()[0]
        entry = ".".join(str(part) for part in first["loc"]) or "the file"
        found = f"{first['msg']} (got {str(first['input'])[:60]})"
        raise SceneError(str(path), f"{entry} must follow the LLAMAS label layout", found, "mend the label") from error
    except (ValueError, RecursionError) as error:
        raise SceneError(str(path), "must be a JSON label file", error, "mend or drop the file") from error
    lanes = [lane for lane in content.lanes if len(lane.markers) >= _MIN_MARKERS and _rows(lane) >= _MIN_ROWS]
    return LlamasLabel(np.array(content.projection_matrix), _renumbered(lanes))


def _rows(lane: LabelledLane) -> int:
    starts = [int(marker.pixel_start.y) for marker in lane.markers]
    return max(starts) - min(starts)


def _renumbered(lanes: list[LabelledLane]) -> list[LabelledLane]:
    """Closes gaps in the lanes' numbers. They are sorted as text (l10 before l2), as in the official scripts."""
    names: dict[str, str] = {}
    for side in "lr":
        ids = sorted(lane.lane_id for lane in lanes if lane.lane_id[0] == side)
        names |= {lane_id: f"{side}{number}" for number, lane_id in enumerate(ids)}
    return [lane.model_copy(update={"lane_id": names[lane.lane_id]}) for lane in lanes]


def class_mask(label: LlamasLabel) -> Mask:
    """Class index 0..4 of every pixel: (717, 1276) uint8. Farther lanes and blended edge pixels are background."""
    width, height = SIZE
    canvas = np.zeros((height, width, 3), np.uint8)
    for lane in label.lanes:
        draw_lane(canvas, lane, label.projection, _COLOURS.get(lane.lane_id, _FARTHER))
    mask = np.zeros((height, width), np.uint8)
    for index, name in enumerate(CLASSES[1:], start=1):
        mask[(canvas == _COLOURS[name]).all(axis=2)] = index
    return mask


def binary_mask(label: LlamasLabel) -> Mask:
    """1 where a marker of any lane is, else 0: (717, 1276) uint8."""
    width, height = SIZE
    canvas = np.zeros((height, width), np.uint8)
    for lane in label.lanes:
        draw_lane(canvas, lane, label.projection, (1,))
    return canvas


def draw_lane(canvas: Mask, lane: LabelledLane, projection: npt.NDArray[np.float64], colour: tuple[int, ...]) -> None:
    """Draws the markers of one lane into `canvas` as the official scripts do: quads with smoothed edges."""
    for marker in lane.markers:
        near = _marker_end(marker.world_start, projection)
        far = _marker_end(marker.world_end, projection)
        corners = np.array([near[0], near[1], far[1], far[0]])
        if corners[0, 1] == corners[3, 1]:
            continue  # both ends on one row: nothing to draw
        for _ in range(2):  # drawn twice, as in the scripts, which makes the smoothed edge harder
            cv2.fillConvexPoly(canvas, corners, colour, cv2.LINE_AA)


def _marker_end(point: WorldPoint, projection: npt.NDArray[np.float64]) -> list[tuple[int, int]]:
    """Left and right corner of a marker's end, in whole pixels."""
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused below
        x, y, depth = projection @ (point.x, point.y, point.z)
        if depth == 0 or point.z == 0:
            raise SceneError("LLAMAS label", "a marker must not lie in the camera's plane", "z = 0", "drop the marker")
        half_width = projection[0, 0] * MARKER_WIDTH / point.z / 2.0
        ends = np.array([[x / depth - half_width, y / depth], [x / depth + half_width, y / depth]])
    if not np.abs(ends).max() <= FARTHEST:
        rule = f"markers must lie within {FARTHEST:,.0f} pixels"
        raise SceneError("LLAMAS label", rule, f"{np.abs(ends).max():g}", "drop the marker")
    (left, row), (right, _) = np.round(ends.astype(np.float32)).astype(np.int32).tolist()
    return [(left, row), (right, row)]
