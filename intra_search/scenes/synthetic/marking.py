"""Shapes of paint in road coordinates (road.py), in metres."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from intra_search.scenes.synthetic.road import FARTHEST, NEAREST, Points

WHITE, YELLOW = 0, 1
"""Paints; `scene.py` chooses their colours."""

_STATIONS = np.concatenate([np.arange(2, 12, 1.0), np.arange(12, 40, 2.0), np.arange(40, FARTHEST, 5.0)])
"""Distances at which long edges get corners: closer together where a metre has many pixels."""


class Marking(NamedTuple):
    """Polygons of one class; they do not overlap each other."""

    label: int
    paint: int
    polygons: Points
    """(P, V, 2): P polygons of V corners."""


def strip(start: float, end: float, left: float, right: float) -> Points:
    """(1, V, 2): band along the road, cut off at `NEAREST` and `FARTHEST`; (0, 4, 2) if nothing is left."""
    start, end = max(start, NEAREST), min(end, FARTHEST)
    if start >= end:
        return np.empty((0, 4, 2))
    inner = _STATIONS[np.searchsorted(_STATIONS, start, "right") : np.searchsorted(_STATIONS, end)]
    count = len(inner) + 2
    band = np.empty((1, 2 * count, 2))
    band[0, 0, 0], band[0, 1 : count - 1, 0], band[0, count - 1, 0] = start, inner, end
    band[0, count:, 0] = band[0, count - 1 :: -1, 0]
    band[0, :count, 1], band[0, count:, 1] = left, right
    return band


def wedge(start: float, end: float, left: tuple[float, float], right: tuple[float, float]) -> Points:
    """(1, V, 2): band whose edges go from `left[0]` and `right[0]` at the start to `left[1]`, `right[1]` at the end."""
    band = strip(start, end, 0.0, 1.0)
    share = (band[..., 0] - start) / (end - start)
    on_right = band[..., 1]
    lefts = left[0] + (left[1] - left[0]) * share
    rights = right[0] + (right[1] - right[0]) * share
    band[..., 1] = lefts + (rights - lefts) * on_right
    return band


def dashes(start: float, end: float, center: float, width: float, *, length: float, gap: float, phase: float) -> Points:
    """(P, 8, 2): dashed line from start to end; `phase` in [0, 1) moves the dashes by a share of their period."""
    start, end = max(start, NEAREST), min(end, FARTHEST)
    first = start - phase * (length + gap)
    starts = np.arange(first, end, length + gap)
    ends = np.minimum(starts + length, end)
    starts = np.maximum(starts, start)
    kept = ends - starts > 0.2
    starts, ends = starts[kept], ends[kept]
    share = np.array([0, 1 / 3, 2 / 3, 1, 1, 2 / 3, 1 / 3, 0])
    quads = np.empty((len(starts), 8, 2))
    quads[..., 0] = starts[:, None] + (ends - starts)[:, None] * share
    quads[..., 1] = center + width / 2 * np.array([-1, -1, -1, -1, 1, 1, 1, 1])
    return quads


def bars(stations: Points, centers: Points, length: float, width: float) -> Points:
    """(P, 4, 2): rectangles, `length` along and `width` across the road, around P middles."""
    corners = np.array([[-length, -width], [length, -width], [length, width], [-length, width]]) / 2
    return np.stack([stations, centers], axis=1)[:, None, :] + corners


def crossbar(start: float, end: float, left: float, right: float) -> Points:
    """(1, 2 n, 2): band across the road, with a corner every few metres so that it follows the road's bend."""
    count = max(2, math.ceil((right - left) / 3) + 1)
    across = np.linspace(left, right, count)
    band = np.empty((1, 2 * count, 2))
    band[0, :count, 0], band[0, count:, 0] = start, end
    band[0, :count, 1], band[0, count:, 1] = across, across[::-1]
    return band


def slanted(starts: Points, left: float, right: float, *, slope: float, width: float) -> Points:
    """(P, 4, 2): diagonal stripes from (start, left) to (start + slope (right - left), right).

    `width` is measured along the road."""
    ends = starts + slope * (right - left)
    stripes = np.empty((len(starts), 4, 2))
    stripes[..., 0] = np.stack([starts, ends, ends + width, starts + width], axis=1)
    stripes[..., 1] = [left, right, right, left]
    return stripes


def polygon(corners: Sequence[tuple[float, float]], station: float, center: float, scale: float = 1.0) -> Points:
    """(1, V, 2): a shape given by (along, across) corners, moved to (station, center); `scale` stretches it along."""
    shape = np.array(corners)
    return (shape * (scale, 1.0) + (station, center))[None]
