"""Noise made once per process from fixed seeds; the ground tile repeats without a visible seam."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

GROUND_SIZE = 512
"""Pixels along a side of the ground tile."""
GROUND_SCALE = 22.0
"""Pixels of the ground tile per metre."""


def _smooth_noise(seed: int, size: int, exponent: float, cutoff: float) -> NDArray[np.float32]:
    """(size, size): noise of deviation 1, whose amplitude falls as frequency ** -exponent above `cutoff` cycles."""
    white = np.random.default_rng(seed).standard_normal((size, size))
    rows, columns = np.fft.fftfreq(size) * size, np.fft.rfftfreq(size) * size
    frequency = np.hypot(rows[:, None], columns[None, :])
    noise = np.fft.irfft2(np.fft.rfft2(white) * np.maximum(frequency, cutoff) ** -exponent, s=(size, size))
    noise -= noise.mean()
    scaled: NDArray[np.float32] = (noise / noise.std()).astype(np.float32)
    return scaled


@cache
def ground_tile() -> Image:
    """(512, 512, 3) uint8 around 128: grain of the asphalt, large blotches, and wear of paint."""
    grain = 0.6 * _smooth_noise(1, GROUND_SIZE, 0.3, 20.0) + 0.5 * _smooth_noise(2, GROUND_SIZE, 1.0, 4.0)
    blotches = _smooth_noise(3, GROUND_SIZE, 2.0, 3.0)
    wear = 0.75 * _smooth_noise(4, GROUND_SIZE, 1.1, 6.0) + 0.6 * _smooth_noise(5, GROUND_SIZE, 0.3, 10.0)
    tile: Image = np.clip(128 + 40 * np.stack([grain, blotches, wear], axis=-1), 0, 255).astype(np.uint8)
    tile.setflags(write=False)
    return tile


@cache
def sensor_noise() -> Image:
    """(2^22,): noise of deviation 16 around 128; each scene reads a part of it."""
    noise = np.random.default_rng(6).standard_normal(1 << 22, dtype=np.float32)
    stored: Image = np.clip(np.rint(128 + 16 * noise), 0, 255).astype(np.uint8)
    stored.setflags(write=False)
    return stored
