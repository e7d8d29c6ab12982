"""Strokes against a plain loop (dense solver, cv2.line segment after segment), and the corners of the rule."""

import cv2
import numpy as np
import pytest

from intra_search.errors import SettingError
from intra_search.metrics.lane_strokes import draw_stroke, natural_spline, stroke_iou

SIZE = (164, 59)


def _lane(seed: int, num_points: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    y = np.linspace(70, 5, num_points)
    return np.stack([draw.uniform(-30, 190) + draw.normal(0, 4, num_points).cumsum(), y], axis=1).round(3)


def _dense_spline(points: np.ndarray) -> np.ndarray:
    """The natural spline by a dense linear system, evaluated point by point in double precision."""
    knots = points.astype(np.float32).astype(np.float64)
    chords = np.linalg.norm(np.diff(knots, axis=0), axis=1)
    system, right = np.eye(len(knots)), np.zeros((len(knots), 2))
    for i in range(1, len(knots) - 1):
        system[i, i - 1 : i + 2] = chords[i - 1], 2 * (chords[i - 1] + chords[i]), chords[i]
        right[i] = 6 * ((knots[i + 1] - knots[i]) / chords[i] - (knots[i] - knots[i - 1]) / chords[i - 1])
    bend = np.linalg.solve(system, right)
    curve = []
    for i, chord in enumerate(chords):
        for t in np.arange(50) / 50 * chord:
            near, far = (chord - t) / chord, t / chord
            bow = (near**3 - near) * bend[i] + (far**3 - far) * bend[i + 1]
            curve.append(near * knots[i] + far * knots[i + 1] + bow * chord**2 / 6)
    return np.array([*curve, knots[-1]])


def _paint_segments(points: np.ndarray, brush: int) -> np.ndarray:
    """What the official tool draws: every pair of neighbouring curve points by a line of its own."""
    canvas = np.zeros(SIZE[::-1], np.uint8)
    curve = points if len(points) == 2 else natural_spline(points)
    pixels = np.rint(curve.astype(np.float32).astype(np.float64)).astype(int)
    for start, end in zip(pixels[:-1].tolist(), pixels[1:].tolist(), strict=True):
        cv2.line(canvas, start, end, 1, brush)
    return canvas.astype(bool)


def _full(points: np.ndarray, brush: int) -> np.ndarray:
    stroke = draw_stroke(points, brush, SIZE)
    assert stroke is not None
    canvas = np.zeros(SIZE[::-1], bool)
    rows, columns = stroke.mask.shape
    canvas[stroke.top : stroke.top + rows, stroke.left : stroke.left + columns] = stroke.mask
    assert stroke.area == canvas.sum()
    return canvas


@pytest.mark.parametrize("num_points", [3, 4, 9, 30])
def test_spline_equals_a_dense_solver(num_points: int) -> None:
    points = _lane(num_points, num_points)
    curve = natural_spline(points)
    assert curve.shape == ((num_points - 1) * 50 + 1, 2)
    np.testing.assert_allclose(curve, _dense_spline(points), atol=2e-5, rtol=0)


def test_spline_through_a_straight_line_is_the_line() -> None:
    curve = natural_spline(np.array([[0.0, 0.0], [3.0, 4.0], [9.0, 12.0]]))
    np.testing.assert_allclose(curve[:, 1], curve[:, 0] * 4 / 3, atol=1e-5)
    np.testing.assert_array_equal(curve[[0, 50, 100]], [[0, 0], [3, 4], [9, 12]])


@pytest.mark.parametrize("brush", [1, 2, 7, 16, 30])
@pytest.mark.parametrize("num_points", [2, 3, 12])
def test_one_polyline_touches_the_pixels_of_all_segments(num_points: int, brush: int) -> None:
    for seed in range(6):
        points = _lane(seed, num_points)
        np.testing.assert_array_equal(_full(points, brush), _paint_segments(points, brush))


@pytest.mark.parametrize("seed", range(40))
def test_lanes_that_leave_the_canvas_are_clipped_alike(seed: int) -> None:
    draw = np.random.default_rng(seed)
    points = draw.uniform((-200, -80), (360, 140), (draw.integers(2, 7), 2))
    for brush in (1, 8, 30):
        np.testing.assert_array_equal(_full(points, brush), _paint_segments(points, brush))


def test_a_lane_within_one_pixel_is_a_dot() -> None:
    points = np.array([[50.0, 30.0], [50.1, 30.1], [50.2, 30.0]])
    np.testing.assert_array_equal(_full(points, 9), _paint_segments(points, 9))
    assert _full(points, 9).any()


def test_repeated_points_leave_no_curve() -> None:
    curve = natural_spline(np.array([[5.0, 5.0], [5.0, 5.0], [9.0, 9.0]]))
    assert np.isnan(curve[:-1]).all()
    assert curve[-1].tolist() == [9.0, 9.0]
    assert draw_stroke(np.array([[5.0, 5.0], [5.0, 5.0], [9.0, 9.0]]), 30, SIZE) is not None


def test_iou_hand_value() -> None:
    one = draw_stroke(np.array([[20.0, 10.0], [60.0, 10.0]]), 1, SIZE)
    other = draw_stroke(np.array([[41.0, 10.0], [80.0, 10.0]]), 1, SIZE)
    assert stroke_iou(one, other) == pytest.approx(20 / 61)  # pixels 20..60 and 41..80
    assert stroke_iou(one, one) == 1.0


def test_iou_of_nothing() -> None:
    stroke = draw_stroke(np.array([[20.0, 10.0], [60.0, 10.0]]), 3, SIZE)
    far = draw_stroke(np.array([[-90.0, 10.0], [-90.0, 40.0]]), 3, SIZE)
    assert draw_stroke(np.array([[20.0, 10.0]]), 3, SIZE) is None
    assert stroke_iou(stroke, None) == 0.0
    assert stroke_iou(stroke, far) == 0.0
    assert np.isnan(stroke_iou(far, far))  # the official tool divides 0 by 0 here


def test_a_brush_needs_a_pixel() -> None:
    with pytest.raises(SettingError, match="at least 1 pixel"):
        draw_stroke(_lane(0, 3), 0, SIZE)
