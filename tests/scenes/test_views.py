"""Views: image and labels move as one, draws are functions of (seed, scene, view), evaluation draws nothing."""

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from intra_search.config.scenes import ScenesSettings
from intra_search.scenes.labels import swap_table
from intra_search.scenes.views import (
    FILL,
    View,
    draw_view,
    evaluation_view,
    training_base,
    view_generator,
)

Array = NDArray[np.uint8]
ROOT = Path(__file__).parents[2]
ALL: dict[str, Any] = {"scale": (0.7, 1.6), "rotation": 12.0, "colour": 0.3, "flip": True}


def _settings(height: int = 64, width: int = 96, **recipe: object) -> ScenesSettings:
    return ScenesSettings.model_validate({"height": height, "width": width, "augment": recipe})


def _scene(height: int, width: int, seed: int = 0) -> tuple[Array, Array]:
    draw = np.random.default_rng(seed)
    image = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return image, draw.integers(0, 5, (height, width), dtype=np.uint8)


def _drawn(image: Array, labels: Array, settings: ScenesSettings, view: int, *, cut: int = 0) -> View:
    swap = swap_table({1: 2, 2: 1, 3: 255})
    return draw_view(training_base(image, labels, settings, cut), settings, swap, view_generator(0, 0, view))


def _same(one: View, other: View) -> bool:
    return torch.equal(one.image, other.image) and torch.equal(one.labels, other.labels)


def test_a_view_has_the_networks_size_and_type() -> None:
    for shape in ((64, 96), (100, 200), (40, 50), (300, 97)):
        view = _drawn(*_scene(*shape), _settings(**ALL), 1)
        assert (view.image.shape, view.image.dtype) == ((3, 64, 96), torch.uint8)
        assert (view.labels.shape, view.labels.dtype) == ((64, 96), torch.uint8)
        assert view.image.is_contiguous()
        assert view.labels.is_contiguous()


def test_scene_of_the_networks_size_is_seen_as_it_is() -> None:
    image, labels = _scene(64, 96)
    view = evaluation_view(image, labels, _settings(), 0)
    assert (view.image.permute(1, 2, 0).numpy() == image).all()
    assert (view.labels.numpy() == labels).all()


def test_without_a_recipe_every_view_is_the_evaluation_view() -> None:
    image, labels = _scene(90, 131)
    settings = _settings()
    for number in range(5):
        assert _same(_drawn(image, labels, settings, number, cut=7), evaluation_view(image, labels, settings, 7))


def test_cut_rows_are_gone_and_the_rest_is_stretched() -> None:
    image, labels = np.zeros((128, 96, 3), np.uint8), np.zeros((128, 96), np.uint8)
    image[:64], labels[:64] = 255, 1
    view = evaluation_view(image, labels, _settings(), 64)
    assert view.image.max() == 0
    assert view.labels.max() == 0
    uncut = evaluation_view(image, labels, _settings(), 0)
    assert (uncut.labels[:32] == 1).all()
    assert (uncut.labels[32:] == 0).all()


def test_labels_are_reduced_to_the_pixel_at_the_centre() -> None:
    """3 to 1: each label is the middle one of its 3 x 3 pixels, and none is invented."""
    _, labels = _scene(96, 96)
    view = evaluation_view(np.zeros((96, 96, 3), np.uint8), labels, _settings(32, 32), 0)
    assert (view.labels.numpy() == labels[1::3, 1::3]).all()


def test_images_are_reduced_without_aliasing() -> None:
    """4 to 1 over stripes of one bright column in four: a quarter of the light everywhere, not all or nothing."""
    image = np.zeros((128, 128, 3), np.uint8)
    image[:, ::4] = 200
    view = evaluation_view(image, np.zeros((128, 128), np.uint8), _settings(32, 32), 0)
    assert (view.image[:, :, 1:-1].int() - 50).abs().max() <= 2


def test_evaluation_draws_nothing() -> None:
    image, labels = _scene(100, 150)
    states = (torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"], random.getstate())  # noqa: NPY002
    first = evaluation_view(image, labels, _settings(**ALL), 3)
    second = evaluation_view(image, labels, _settings(**ALL), 3)
    assert _same(first, second)
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state(legacy=False)["state"]["key"])  # noqa: NPY002
    assert states[2] == random.getstate()
    assert _same(first, evaluation_view(image, labels, _settings(), 3))


def test_a_view_is_a_function_of_its_numbers() -> None:
    image, labels = _scene(100, 150)
    settings = _settings(**ALL)
    torch.manual_seed(1)
    first = [_drawn(image, labels, settings, number) for number in range(6)]
    torch.manual_seed(2)
    assert all(_same(view, _drawn(image, labels, settings, number)) for number, view in enumerate(first))
    assert not any(_same(first[0], view) for view in first[1:])


def views_digest(threads: int) -> str:
    """SHA-256 of views with all changes switched on, small ones and ones large enough to be shared between threads."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    digest = hashlib.sha256()
    for size, settings in (((100, 150), _settings(**ALL)), ((590, 1640), _settings(288, 800, **ALL))):
        image, labels = _scene(*size)
        for number in (0, 1, 2, 2**62 - 1):
            view = _drawn(image, labels, settings, number, cut=7)
            digest.update(view.image.numpy().tobytes() + view.labels.numpy().tobytes())
    return digest.hexdigest()


def test_any_process_with_any_number_of_threads_rebuilds_a_view_bit_for_bit() -> None:
    """A new process, so that nothing is inherited; its string hash shows that it is another one."""
    code = "import sys; from tests.scenes.test_views import views_digest; print(hash('a'), views_digest(3))"
    environment = {**os.environ, "PYTHONHASHSEED": "17"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    other_hash, other_digest = done.stdout.split()
    assert other_hash != str(hash("a"))
    before = (torch.get_num_threads(), cv2.getNumThreads())
    try:
        assert views_digest(1) == views_digest(2) == other_digest
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def test_drawing_leaves_the_global_randomness_alone() -> None:
    state = torch.get_rng_state()
    _drawn(*_scene(100, 150), _settings(**ALL), 0)
    assert torch.equal(state, torch.get_rng_state())


def test_generators_differ_in_each_number_and_are_frozen() -> None:
    """They must never change: stored knowledge was computed on views drawn from these numbers."""
    draws = {
        key: torch.rand(3, generator=view_generator(*key), dtype=torch.float64)
        for key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0))
    }
    assert len({tuple(draw.tolist()) for draw in draws.values()}) == 5
    assert view_generator(3, 14, 15).initial_seed() == int(
        np.random.SeedSequence((3, 14, 15)).generate_state(1, np.uint64)[0]
    )
    assert draws[0, 0, 0].tolist() == pytest.approx(GENERATOR_000, abs=1e-12)


GENERATOR_000 = [0.9074614958953566, 0.19211628183481644, 0.3692898160194511]


def test_switching_one_change_on_leaves_the_others_as_they_were() -> None:
    image, labels = _scene(100, 150)
    plain, coloured = _settings(scale=(1.5, 2)), _settings(scale=(1.5, 2), colour=0.5)
    for number in range(4):
        one, other = _drawn(image, labels, plain, number), _drawn(image, labels, coloured, number)
        assert torch.equal(one.labels, other.labels)
        assert not torch.equal(one.image, other.image)


def test_flip_against_a_pixel_by_pixel_swap() -> None:
    image, labels = _scene(32, 48)
    settings = _settings(32, 48, flip=True)
    wanted_image = np.zeros_like(image)
    wanted_labels = np.zeros_like(labels)
    mirror = {0: 0, 1: 2, 2: 1, 3: 255, 4: 4}
    for row in range(32):
        for column in range(48):
            wanted_image[row, column] = image[row, 47 - column]
            wanted_labels[row, column] = mirror[int(labels[row, 47 - column])]
    flipped = 0
    for number in range(200):
        view = _drawn(image, labels, settings, number)
        if torch.equal(view.labels, torch.from_numpy(labels)):
            assert (view.image.permute(1, 2, 0).numpy() == image).all()
        else:
            flipped += 1
            assert (view.labels.numpy() == wanted_labels).all()
            assert (view.image.permute(1, 2, 0).numpy() == wanted_image).all()
    assert 70 <= flipped <= 130  # 200 coins: 4 standard deviations are 28


def _coordinates(height: int, width: int) -> tuple[Array, Array, Array]:
    """Image whose red is the column and green the row, with both as labels (0..200)."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.uint8)
    return np.stack([columns, rows, np.zeros_like(rows)], -1), rows, columns


def _inner(labels: Tensor) -> Tensor:
    """Pixels whose 5 x 5 neighbours are all in the view and in the frame, away from blends with the fill."""
    covered = (labels != 255).float()[None, None]
    return torch.nn.functional.avg_pool2d(covered, 5, 1, 2)[0, 0] == 1


@pytest.mark.parametrize(
    "recipe",
    [
        {"scale": (1.0, 2.5)},
        {"scale": (0.4, 0.9)},
        {"rotation": 45.0},
        {"scale": (0.6, 1.8), "rotation": 15.0},
        {"flip": True, "scale": (0.6, 1.8), "rotation": 15.0},
    ],
)
@pytest.mark.parametrize("shape", [(64, 96), (150, 200), (50, 70)])
def test_image_and_labels_move_together(recipe: dict[str, Any], shape: tuple[int, int]) -> None:
    """Each pixel of a coordinate image is painted with where it came from; its label must say the same place."""
    image, rows, columns = _coordinates(*shape)
    settings = _settings(**recipe)
    reduction = max(shape[0] / 64, shape[1] / 96, 1) / min(1, *settings.augment.scale)
    drifts, seen = [], 0
    for number in range(12):
        for channel, labels in ((0, columns), (1, rows)):
            base = training_base(image, labels, settings, 0)
            view = draw_view(base, settings, None, view_generator(0, 0, number))
            inner = _inner(view.labels)
            seen += int(inner.sum())
            gap = (view.image[channel].int() - view.labels.int())[inner].abs()
            # Two roundings to the nearest pixel at most: in the base, and in the view.
            assert gap.max() <= 1 + reduction
            drifts.append(float((view.image[channel].double() - view.labels.double())[inner].mean()))
    assert seen > 10_000
    # No drift to one side, as half a pixel of misplaced centres would give.
    assert abs(np.mean(drifts)) < 0.25


@pytest.mark.parametrize("recipe", [{"scale": (0.4, 0.6)}, {"rotation": 30.0}])
def test_pixels_that_no_frame_covers_are_filled_and_ignored(recipe: dict[str, Any]) -> None:
    image, labels = np.full((64, 96, 3), 250, np.uint8), np.full((64, 96), 3, np.uint8)
    filled = 0
    for number in range(8):
        view = _drawn(image, labels, _settings(**recipe), number)
        uncovered = ~torch.nn.functional.max_pool2d((view.labels == 3).float()[None, None], 3, 1, 1)[0, 0].bool()
        filled += int(uncovered.sum())
        assert set(view.labels.unique().tolist()) <= {3, 255}
        assert (view.image[:, uncovered] == torch.tensor(FILL, dtype=torch.uint8)[:, None]).all()
        assert (view.image[:, _inner(view.labels)] == 250).all()
    assert filled > 0


def test_zoom_two_shows_a_quarter_at_every_place() -> None:
    """The window covers half the rows and columns; over many views it reaches every edge."""
    image, rows, columns = _coordinates(64, 96)
    settings = _settings(scale=(2.0, 2.0))
    tops, lefts = [], []
    for number in range(300):
        across = draw_view(training_base(image, columns, settings, 0), settings, None, view_generator(0, 0, number))
        down = draw_view(training_base(image, rows, settings, 0), settings, None, view_generator(0, 0, number))
        assert int(across.labels.max()) - int(across.labels.min()) == 47
        assert int(down.labels.max()) - int(down.labels.min()) == 31
        tops.append(int(down.labels.min()))
        lefts.append(int(across.labels.min()))
    assert (min(tops), max(tops), min(lefts), max(lefts)) == (0, 32, 0, 48)


def test_zoom_reads_the_frame_and_not_its_reduction() -> None:
    """Stripes of single pixels in a frame twice as large as the view survive a zoom of two."""
    image, labels = np.zeros((128, 192, 3), np.uint8), np.zeros((128, 192), np.uint8)
    image[:, ::2], labels[:, ::2] = 255, 1
    view = _drawn(image, labels, _settings(scale=(2.0, 2.0)), 0)
    assert set(view.image.unique().tolist()) == {0, 255}
    assert (view.labels[:, 1:] != view.labels[:, :-1]).all()


def test_the_base_is_no_larger_than_the_frame_or_the_largest_zoom() -> None:
    settings = _settings(scale=(0.5, 1.5))
    for shape, wanted in (((640, 960), (96, 144)), ((80, 960), (80, 144)), ((10, 10), (64, 96))):
        assert tuple(training_base(*_scene(*shape), settings, 0).labels.shape) == wanted
    assert tuple(training_base(*_scene(640, 960), _settings(scale=(0.5, 0.9)), 0).labels.shape) == (64, 96)


def test_rotation_turns_every_second_view_within_its_limit() -> None:
    image, labels = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8)
    labels[31:33] = 1
    turned, angles = 0, []
    for number in range(200):
        view = _drawn(image, labels, _settings(64, 64, rotation=20.0), number)
        rows, columns = torch.nonzero(view.labels == 1, as_tuple=True)
        slope = torch.linalg.lstsq(
            torch.stack([columns.double(), torch.ones(len(columns), dtype=torch.float64)], 1), rows.double()[:, None]
        ).solution[0]
        turned += not torch.equal(view.labels, torch.from_numpy(labels))
        angles.append(float(torch.rad2deg(torch.atan(slope))))
    assert 70 <= turned <= 130
    assert max(angles) > 15
    assert min(angles) < -15
    assert max(map(abs, angles)) < 20.5


def test_rotation_is_about_the_centre() -> None:
    """What is symmetric about the centre stays so, up to pixels that lie halfway between two."""
    rows, columns = np.mgrid[0:64, 0:96]
    labels = (((rows - 31.5) ** 2 + (columns - 47.5) ** 2) // 200).astype(np.uint8)
    rings = np.stack([labels] * 3, -1)
    for number in range(20):
        view = _drawn(rings, labels + 10, _settings(rotation=30.0), number)
        assert (view.labels == view.labels.flip(0, 1)).double().mean() > 0.995


def test_colour_stays_within_its_strength_and_leaves_labels_alone() -> None:
    image, labels = np.full((32, 32, 3), 100, np.uint8), np.zeros((32, 32), np.uint8)
    values = []
    for number in range(100):
        view = _drawn(image, labels, _settings(32, 32, colour=0.2), number)
        assert view.labels.max() == 0
        values.append(int(view.image[0, 0, 0]))
    # A uniform grey: contrast and saturation do nothing, brightness gives 80..120.
    assert 79 <= min(values) < 85
    assert 115 < max(values) <= 121


def test_views_share_no_memory_with_their_base() -> None:
    image, labels = _scene(64, 96)
    base = training_base(image, labels, _settings(), 0)
    for number in range(2):
        view = _drawn(image, labels, _settings(), number)
        view.image.fill_(0)
        view.labels.fill_(9)
    assert (base.image.permute(1, 2, 0).numpy() == image).all()
    assert labels.max() < 9
