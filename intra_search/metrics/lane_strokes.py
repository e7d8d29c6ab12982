"""Lanes as CULane's official tool draws them: a smooth curve through the points, drawn with a broad brush.

The tool computes with 32-bit points and 64-bit splines. So does this file, because one pixel rounded another way can
move an IoU over the threshold.
"""

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from intra_search.errors import SettingError

Points = npt.NDArray[np.floating]
SUBSTEPS = 50  # curve points drawn per pair of neighbouring lane points
_LOST = np.iinfo(np.int32).min  # C++ rounds NaN, and numbers that do not fit, to this


class Stroke(NamedTuple):
    """One drawn lane: a box of the canvas that holds all pixels its brush touched."""

    mask: npt.NDArray[np.bool_]
    """(rows, columns) of the box: true where the brush touched the canvas."""
    top: int
    left: int
    area: int
    """Number of touched pixels."""


def natural_spline(points: Points, substeps: int = SUBSTEPS) -> npt.NDArray[np.float32]:
    """Natural cubic spline through lane points (N, 2), N >= 3: ((N - 1) * substeps + 1, 2) points of the curve.

    Both coordinates are splines of the summed distance between neighbouring points, with second derivative 0 at both
    ends. If two neighbours are at one place, all points of the curve but the last are NaN, as in the official tool.
    """
    knots = points.astype(np.float32)
    steps = np.diff(knots, axis=0).astype(np.float64)
    chords = np.sqrt(np.square(steps).sum(axis=1))
    if not chords.all():
        lost = np.full(((len(knots) - 1) * substeps, 2), np.nan, np.float32)
        return np.concatenate([lost, knots[-1:]])
    slopes = steps / chords[:, None]
    bends = _second_derivatives(chords, slopes)
    lengths = chords[:, None]
    linear = slopes - (2 * lengths * bends[:-1] + lengths * bends[1:]) / 6
    quadratic = bends[:-1] / 2
    cubic = (bends[1:] - bends[:-1]) / (6 * lengths)
    times = (lengths / substeps * np.arange(substeps))[..., None]  # (N - 1, substeps, 1)
    start = knots[:-1].astype(np.float64)
    curve = start[:, None] + linear[:, None] * times + quadratic[:, None] * times**2 + cubic[:, None] * times**3
    return np.concatenate([curve.reshape(-1, 2).astype(np.float32), knots[-1:]])


def _second_derivatives(chords: npt.NDArray[np.float64], slopes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Second derivatives (N, 2) at the knots of a natural spline, by elimination in the tridiagonal system.

    A loop in Python's floats: for some thirty knots it is faster than arrays.
    """
    lengths = chords.tolist()
    jumps = (6 * np.diff(slopes, axis=0)).tolist()
    reduced: list[tuple[float, float, float]] = []
    share, x, y = 0.0, 0.0, 0.0
    for before, after, (jump_x, jump_y) in zip(lengths[:-1], lengths[1:], jumps, strict=True):
        pivot = 2 * (before + after) - before * share
        share, x, y = after / pivot, (jump_x - before * x) / pivot, (jump_y - before * y) / pivot
        reduced.append((share, x, y))
    bends = [(0.0, 0.0)]
    for share, x, y in reversed(reduced):
        next_x, next_y = bends[-1]
        bends.append((x - share * next_x, y - share * next_y))
    bends.append((0.0, 0.0))
    return np.array(bends[::-1])


def draw_stroke(points: Points, brush: int, size: tuple[int, int]) -> Stroke | None:
    """The lane's stroke on a canvas of `size` = (width, height) pixels, or None for a lane of fewer than two points.

    `points` (N, 2) are x, y in pixels and may lie outside the canvas. Two points are joined by a straight line. The
    official tool draws segment after segment; drawing one polyline touches the same pixels.
    """
    if brush < 1:
        raise SettingError("width", "must be at least 1 pixel", brush, "CULane uses 30")
    if len(points) < 2:
        return None
    curve = points.astype(np.float32) if len(points) == 2 else natural_spline(points)
    corners = _to_pixels(curve)
    width, height = size
    margin = brush // 2 + 2
    left, top = np.clip(corners.min(axis=0).astype(np.int64) - margin, 0, (width, height)).tolist()
    right, bottom = np.clip(corners.max(axis=0).astype(np.int64) + margin + 1, 0, (width, height)).tolist()
    # Only the lane's box is drawn. It is larger than the stroke or ends where the canvas ends, so clipping is the same.
    mask = np.zeros((max(0, bottom - top), max(0, right - left)), np.uint8)
    if mask.size:
        line = corners - np.array([left, top], np.int32)
        cv2.polylines(
            mask, [line if len(line) > 1 else np.repeat(line, 2, axis=0)], False, 1, brush
        )  # one point: a dot
    return Stroke(mask.view(np.bool_), top, left, int(np.count_nonzero(mask)))


def _to_pixels(curve: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """Pixels of the curve's points, rounded half to even like C++'s cvRound; of equal neighbours one is kept."""
    rounded = np.rint(curve.astype(np.float64))
    with np.errstate(invalid="ignore"):
        on_grid = np.abs(rounded) < 2.0**31  # false for NaN
    pixels = np.where(on_grid, rounded, _LOST).astype(np.int32)
    fresh = np.ones(len(pixels), np.bool_)
    fresh[1:] = (pixels[1:] != pixels[:-1]).any(axis=1)
    return np.ascontiguousarray(pixels[fresh])


def stroke_iou(one: Stroke | None, other: Stroke | None) -> float:
    """Intersection over union of two strokes; 0 if a lane has too few points, NaN if both lie outside the canvas."""
    if one is None or other is None:
        return 0.0
    if one.area + other.area == 0:
        return float("nan")
    top, left = max(one.top, other.top), max(one.left, other.left)
    bottom = min(one.top + one.mask.shape[0], other.top + other.mask.shape[0])
    right = min(one.left + one.mask.shape[1], other.left + other.mask.shape[1])
    if bottom <= top or right <= left:
        return 0.0
    shared = int(np.count_nonzero(_part(one, top, bottom, left, right) & _part(other, top, bottom, left, right)))
    return shared / (one.area + other.area - shared)


def _part(stroke: Stroke, top: int, bottom: int, left: int, right: int) -> npt.NDArray[np.bool_]:
    return stroke.mask[top - stroke.top : bottom - stroke.top, left - stroke.left : right - stroke.left]
