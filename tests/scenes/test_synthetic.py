"""Drawn scenes: the same everywhere, with every family of markings, and labels that agree with the picture."""

import os
import subprocess
import sys
from hashlib import sha256

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from intra_search.scenes.labels import apolloscape_classes
from intra_search.scenes.synthetic import draw_scene
from intra_search.scenes.synthetic.camera import Camera, View
from intra_search.scenes.synthetic.canvas import HIDDEN, Canvas
from intra_search.scenes.synthetic.chance import Chance
from intra_search.scenes.synthetic.face import Face, Thing, across
from intra_search.scenes.synthetic.lane_lines import LineStyle, line
from intra_search.scenes.synthetic.marking import Marking, dashes, strip, wedge
from intra_search.scenes.synthetic.road import Road
from intra_search.scenes.synthetic.scene import sample_contents

Image = NDArray[np.uint8]

HEIGHT, WIDTH = 160, 416
HOOD = 255
FAMILIES = {1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 14, 15, 16, 18, 19, 20, 21, 22, 24, 25, 31, 33}
SEEDS = (0, 17)

STRAIGHT = Road(
    curvature=0.0,
    curvature_rate=0.0,
    crest=0.0,
    num_right=2,
    num_left=0,
    lane_width=3.5,
    median=0.0,
    margin=0.5,
    own_lane=0,
)
LEVEL = Camera(height=1.5, across=0.0, yaw=0.0, pitch=0.0, roll=0.0, focal=1.0, center_row=0.4)

_PRINT_HASHES = """
import sys, cv2
from tests.scenes.test_synthetic import scene_hash
cv2.setNumThreads(int(sys.argv[1]))
print(*(scene_hash(5, index) for index in (11, 3, 0)))
"""


def scene_hash(seed: int, index: int) -> str:
    image, labels = draw_scene(seed, index, HEIGHT, WIDTH)
    return sha256(image.tobytes() + labels.tobytes()).hexdigest()


@pytest.fixture(scope="module", params=SEEDS)
def scenes(request: pytest.FixtureRequest) -> list[tuple[Image, Image]]:
    return [draw_scene(request.param, index, HEIGHT, WIDTH) for index in range(200)]


@pytest.mark.parametrize("num_threads", [1, 2])
def test_another_process_order_and_thread_count_give_the_same_bytes(num_threads: int) -> None:
    expected = [scene_hash(5, index) for index in (0, 3, 11)]
    command = [sys.executable, "-c", _PRINT_HASHES, str(num_threads)]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    assert printed.split() == expected[::-1]


def test_another_seed_or_index_is_another_scene() -> None:
    assert len({scene_hash(seed, index) for seed in (0, 1) for index in (0, 1)}) == 4


def test_shapes_and_types() -> None:
    image, labels = draw_scene(0, 0, 97, 211)
    assert image.shape == (97, 211, 3)
    assert labels.shape == (97, 211)
    assert image.dtype == labels.dtype == np.uint8
    assert image.flags.c_contiguous
    assert labels.flags.c_contiguous


@pytest.mark.parametrize(("height", "width"), [(16, 16), (64, 64), (200, 100), (40, 400), (300, 1800)])
def test_any_size_can_be_drawn(height: int, width: int) -> None:
    for index in range(12):
        image, labels = draw_scene(1, index, height, width)
        assert image.shape[:2] == labels.shape == (height, width)


def test_every_family_occurs_and_nothing_else(scenes: list[tuple[Image, Image]]) -> None:
    found = set(np.flatnonzero(np.bincount(np.concatenate([labels.ravel() for _, labels in scenes]))).tolist())
    assert found >= FAMILIES | {0, HOOD}
    assert found <= set(range(len(apolloscape_classes()))) | {HOOD}


def test_common_families_are_in_most_scenes(scenes: list[tuple[Image, Image]]) -> None:
    with_white = sum(bool(np.isin(labels, (1, 3, 5, 7, 9)).any()) for _, labels in scenes)
    with_paint = sum(bool(((labels > 0) & (labels < HOOD)).any()) for _, labels in scenes)
    assert with_white > 0.8 * len(scenes)
    assert with_paint >= 0.98 * len(scenes)


def test_hood_lies_at_the_bottom_of_some_scenes(scenes: list[tuple[Image, Image]]) -> None:
    hoods = [labels == HOOD for _, labels in scenes if (labels == HOOD).any()]
    assert 0.3 < len(hoods) / len(scenes) < 0.5
    for hood in hoods:
        assert hood[-1].any()
        assert not hood[: int(0.8 * HEIGHT)].any()
        # Below a pixel of the hood is only hood.
        assert (np.diff(hood.astype(np.int8), axis=0) >= 0).all()


def test_markings_take_a_share_like_that_of_real_frames(scenes: list[tuple[Image, Image]]) -> None:
    shares = [float(((labels > 0) & (labels < HOOD)).mean()) for _, labels in scenes]
    assert 0.03 < np.mean(shares) < 0.08
    assert max(shares) < 0.3


def test_no_marking_above_the_horizon() -> None:
    for index in range(60):
        contents = sample_contents(Chance(0, index))
        view = View(contents.camera, contents.road, HEIGHT, WIDTH)
        highest = min(view.horizon_row(0.0), view.horizon_row(float(WIDTH)))
        _, labels = draw_scene(0, index, HEIGHT, WIDTH)
        assert not labels[: int(highest)].any()


def test_another_size_shows_the_same_scene() -> None:
    small_shares, agreements = [], []
    for index in range(40):
        _, small = draw_scene(0, index, 160, 416)
        _, large = draw_scene(0, index, 480, 1248)
        reduced = large[1::3, 1::3]
        either = (small > 0) | (reduced > 0)
        near = either & (np.arange(160)[:, None] > 100)
        if near.any():
            agreements.append((small == reduced)[near].mean())
        small_shares.append((small > 0).mean() / max((large > 0).mean(), 1e-3))
    assert np.mean(agreements) > 0.75
    assert 1.0 < np.mean(small_shares) < 1.3


def test_fresh_paint_outshines_the_road_by_day() -> None:
    contrasts = []
    for index in range(200):
        contents = sample_contents(Chance(2, index))
        if contents.pavement.wear < 0.3 and contents.weather.kind in ("sun", "cloud"):
            image, labels = draw_scene(2, index, HEIGHT, WIDTH)
            grey = image.mean(axis=2)
            paint = (labels > 0) & (labels < HOOD)
            around = cv2.dilate(paint.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
            beside = around & ~cv2.dilate(paint.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
            beside &= labels == 0
            if paint.sum() > 100:
                contrasts.append(grey[paint].mean() - grey[beside].mean())
    assert len(contrasts) > 30
    assert np.mean(contrasts) > 40
    assert np.mean(np.array(contrasts) > 0) > 0.95


def test_weathers_differ_in_brightness() -> None:
    brightness: dict[str, list[float]] = {}
    for index in range(120):
        image, _ = draw_scene(0, index, 80, 208)
        brightness.setdefault(sample_contents(Chance(0, index)).weather.kind, []).append(float(image.mean()))
    mean = {kind: np.mean(values) for kind, values in brightness.items()}
    assert set(mean) == {"sun", "cloud", "dusk", "rain", "night"}
    assert mean["night"] < 0.8 * mean["dusk"]
    assert mean["dusk"] < 0.8 * mean["sun"]
    assert mean["rain"] < 0.85 * mean["cloud"]


def test_projection_by_hand() -> None:
    # focal 1.0 x width 400 = 400 px; the axis meets the picture at column 200, row 80, that is at -0.5 from there.
    view = View(LEVEL, STRAIGHT, 200, 400)
    pixels = view.project(np.array([[10.0, 0.0], [10.0, 2.0], [20.0, -1.0]]))
    np.testing.assert_allclose(pixels, [[199.5, 139.5], [279.5, 139.5], [179.5, 109.5]])
    above = view.project(np.array([[10.0, 0.0]]), 1.5)
    np.testing.assert_allclose(above, [[199.5, 79.5]])


def test_ground_map_undoes_the_projection() -> None:
    camera = LEVEL._replace(yaw=0.03, pitch=-0.02, roll=0.015, across=1.2)
    view = View(camera, STRAIGHT, 160, 416)
    points = np.array([[8.0, -2.0], [15.0, 3.0], [40.0, 0.5]])
    mapped = view.ground_map() @ np.vstack([view.project(points).T, np.ones(3)])
    np.testing.assert_allclose((mapped[:2] / mapped[2]).T, points[:, ::-1] - [1.2, 0.0], atol=1e-9)


def test_a_line_is_as_wide_as_its_metres() -> None:
    view = View(LEVEL, STRAIGHT, 200, 400)
    canvas = Canvas(view)
    canvas.draw_markings([Marking(1, 0, strip(2.0, 60.0, 0.5, 1.5))])
    # At 10 m (row 139.5) a metre is 40 pixels: columns 219.5 to 259.5.
    assert abs(int((canvas.labels[139] == 1).sum()) - 40) <= 1
    assert canvas.labels[139, 222] == 1
    assert canvas.labels[139, 216] == 0


def test_a_thing_hides_the_paint_behind_it() -> None:
    view = View(LEVEL, STRAIGHT, 200, 400)
    canvas = Canvas(view)
    canvas.draw_markings([Marking(7, 0, strip(2.0, 60.0, -0.5, 0.5))])
    canvas.draw_things([Thing(10.0, [Face(across(10.0, -1.0, 1.0, 0.0, 1.0), (9.0, 9.0, 9.0))])])
    assert canvas.labels[120, 200] == HIDDEN
    labels = canvas.finished_labels()
    assert labels[120, 200] == 0
    assert labels[160, 200] == 7
    assert tuple(canvas.image[120, 200]) == (9, 9, 9)


def test_dashes_keep_their_length_and_gap() -> None:
    quads = dashes(2.0, 30.0, 1.0, 0.2, length=4.0, gap=6.0, phase=0.0)
    assert [(quad[:, 0].min(), quad[:, 0].max()) for quad in quads] == [(2.0, 6.0), (12.0, 16.0), (22.0, 26.0)]
    assert {round(float(t), 6) for t in quads[..., 1].ravel()} == {0.9, 1.1}
    moved = dashes(2.0, 30.0, 1.0, 0.2, length=4.0, gap=6.0, phase=0.2)
    assert (moved[0, :, 0].min(), moved[0, :, 0].max()) == (2.0, 4.0)


def test_a_wedge_widens_evenly() -> None:
    band = wedge(10.0, 20.0, (0.0, -1.0), (1.0, 3.0))[0]
    middle = band[np.isclose(band[:, 0], 16.0)]
    np.testing.assert_allclose(np.sort(middle[:, 1]), [-0.6, 2.2])


@pytest.mark.parametrize(("label", "num_markings"), [(0, 0), (1, 1), (4, 2), (5, 2), (7, 1), (10, 2)])
def test_double_lines_have_two_strokes(label: int, num_markings: int) -> None:
    style = LineStyle(width=0.15, dash=4.0, gap=6.0, phase=0.0)
    markings = line(label, (2.0, 40.0), 0.0, style)
    assert len(markings) == num_markings
    assert all(marking.label == label for marking in markings)
    if num_markings == 2:
        assert markings[0].polygons[..., 1].max() < 0 < markings[1].polygons[..., 1].min()


def test_chance_is_uniform_and_its_normal_has_its_deviation() -> None:
    chance = Chance(0, 0)
    shares = np.array([chance.share() for _ in range(20_000)])
    normals = np.array([chance.normal(3.0, 2.0) for _ in range(20_000)])
    assert abs(shares.mean() - 0.5) < 0.01
    assert {chance.integer(1, 3) for _ in range(100)} == {1, 2, 3}
    assert abs(normals.mean() - 3.0) < 0.06
    assert abs(normals.std() - 2.0) < 0.06
