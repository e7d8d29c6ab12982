"""Counts against numpy's bincount, for constant, sparse and noisy images of every odd size."""

import numpy as np
import pytest

from intra_search.metrics.histograms import pair_counts, value_counts


def _image(kind: str, shape: tuple[int, ...]) -> np.ndarray:
    draw = np.random.default_rng(3)
    noise = draw.integers(0, 256, shape).astype(np.uint8)
    images = {"constant": np.full(shape, 218), "sparse": np.where(draw.random(shape) < 0.01, noise, 0), "noise": noise}
    return images[kind].astype(np.uint8)


@pytest.mark.parametrize("shape", [(0,), (1, 1), (7, 1), (3, 5), (8, 8), (31, 67)])
@pytest.mark.parametrize("kind", ["constant", "sparse", "noise"])
def test_equals_bincount(kind: str, shape: tuple[int, ...]) -> None:
    image = _image(kind, shape)
    expected = np.bincount(image.reshape(-1), minlength=256)
    np.testing.assert_array_equal(value_counts(image), expected)
    pairs = pair_counts(image, image[::-1])
    np.testing.assert_array_equal(pairs.sum(axis=1), expected)
    np.testing.assert_array_equal(pairs.sum(axis=0), expected)


def test_pairs_hand_value() -> None:
    pairs = pair_counts(np.array([[3, 3, 200]], np.uint8), np.array([[4, 4, 0]], np.uint8))
    assert (int(pairs[3, 4]), int(pairs[200, 0]), int(pairs.sum())) == (2, 1, 3)


def test_views_that_are_not_contiguous() -> None:
    image = _image("noise", (20, 30))
    np.testing.assert_array_equal(value_counts(image[::2, ::3]), np.bincount(image[::2, ::3].ravel(), minlength=256))


def test_more_pixels_than_a_float_counts() -> None:
    image = np.zeros((4200, 4001), np.uint8)  # 2**24 + 26,984 pixels
    assert pair_counts(image, image)[0, 0] == value_counts(image)[0] == image.size
