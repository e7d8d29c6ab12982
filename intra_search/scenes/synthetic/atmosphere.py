"""Sky, haze, glow of lamps, reflections on wet ground, rain, and the camera's noise."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from intra_search.scenes.synthetic.camera import View
from intra_search.scenes.synthetic.canvas import HIDDEN, Canvas
from intra_search.scenes.synthetic.chance import Chance
from intra_search.scenes.synthetic.texture import ground_tile, sensor_noise
from intra_search.scenes.synthetic.traffic import Vehicle
from intra_search.scenes.synthetic.weather import Weather

Image = NDArray[np.uint8]


class Atmosphere(NamedTuple):
    noise_offset: float
    """Where the scene's part of the stored noise begins, as a share of its length."""
    cloud_offset: float
    streaks: list[tuple[float, float, float]]
    """Rain: column, row and length as shares of the picture's height."""
    slant: float


def sample_atmosphere(chance: Chance) -> Atmosphere:
    noise, cloud, slant = chance.share(), chance.share(), chance.uniform(-0.25, 0.25)
    streaks = [(chance.share() * 4, chance.share(), chance.uniform(0.03, 0.12)) for _ in range(90)]
    return Atmosphere(noise, cloud, streaks, slant)


def paint_sky(image: Image, view: View, weather: Weather, atmosphere: Atmosphere) -> None:
    """Gradient with clouds on all rows down to the horizon."""
    rows = max(1, min(view.height, int(max(view.horizon_row(0.0), view.horizon_row(float(view.width)))) + 1))
    share = np.linspace(0, 1, rows, dtype=np.float32)[:, None] ** 1.5
    top, low = np.array(weather.sky_top, np.float32), np.array(weather.sky_low, np.float32)
    image[:rows] = (top + (low - top) * share)[:, None, :].astype(np.uint8)
    if weather.kind != "night":
        first = int(atmosphere.cloud_offset * 300)
        clouds = cv2.resize(ground_tile()[first : first + 64, 0:256, 1], (view.width, rows))
        image[:rows] = cv2.multiply(image[:rows], cv2.merge((clouds, clouds, clouds)) // 5 + 102, scale=1 / 128)


def add_haze(image: Image, view: View, weather: Weather) -> None:
    """Blends the rows just below the horizon with its sky."""
    first = max(0, int(view.horizon))
    rows = min(int(0.22 * view.height), view.height - first)
    if rows <= 0 or weather.haze == 0:
        return
    share = weather.haze * np.exp(-np.arange(rows, dtype=np.float32) / (0.06 * view.height))[:, None, None]
    band = image[first : first + rows]
    band[...] = (band * (1 - share) + share * np.array(weather.sky_low, np.float32)).astype(np.uint8)


def reflect(canvas: Canvas, horizon: int, wet: float) -> None:
    """Mixes the ground with the upside-down, blurred picture above the horizon."""
    image, height, width = canvas.image, canvas.view.height, canvas.view.width
    if horizon < 8:
        return
    above = cv2.flip(image[:horizon], 0)
    mirror = cv2.blur(cv2.resize(above, (width // 4, (height - horizon) // 4)), (3, 9))
    mirror = cv2.resize(mirror, (width, height - horizon))
    share = 0.42 * wet
    mixed = cv2.addWeighted(image[horizon:], 1 - share, mirror, share, 0)
    cv2.copyTo(mixed, (canvas.labels[horizon:] != HIDDEN).view(np.uint8), image[horizon:])


def add_glow(canvas: Canvas, vehicles: Sequence[Vehicle], weather: Weather) -> None:
    """Halos of lamps, and their streaks on wet ground."""
    shining = [vehicle for vehicle in vehicles if vehicle.lamps_on]
    if not shining:
        return
    view = canvas.view
    spots = np.array([(v.s, v.t + side * 0.38 * v.width) for v in shining for side in (-1, 1)])
    pixels = view.project(spots, 0.75)
    # A quarter of the size: a halo has no detail.
    small = np.zeros((view.height // 4 + 1, view.width // 4 + 1, 3), np.uint8)
    strength = 1.0 if weather.kind == "night" else 0.45
    for place, (column, row) in enumerate(pixels.tolist()):
        vehicle = shining[place // 2]
        lamp = (255, 240, 200) if vehicle.oncoming else (200, 24, 16)
        color = [strength * part for part in lamp]
        radius = max(1, round(view.focal * 0.22 / vehicle.s / 4 + 0.006 * view.width / 4))
        center = (round(column / 4), round(row / 4))
        cv2.circle(small, center, radius, color, -1)
        if weather.wet:
            streak = [0.5 * part for part in color]
            cv2.ellipse(small, (center[0], center[1] + 6 * radius), (radius, 5 * radius), 0, 0, 360, streak, -1)
    size = max(3, view.width // 100 | 1)
    glow = cv2.resize(cv2.GaussianBlur(small, (size, size), 0), (view.width, view.height))
    cv2.add(canvas.image, glow, dst=canvas.image)


def add_rain(image: Image, atmosphere: Atmosphere) -> None:
    """Bright streaks over everything, so faint that the labels stay right."""
    height, width = image.shape[:2]
    veil = np.zeros((height // 2 + 1, width // 2 + 1), np.uint8)
    for column, row, length in atmosphere.streaks:
        start = (round(column * height / 2), round(row * height / 2))
        end = (round((column + atmosphere.slant * length) * height / 2), round((row + length) * height / 2))
        cv2.line(veil, start, end, 26, max(1, height // 320))
    veil = cv2.resize(veil, (width, height))
    cv2.add(image, cv2.merge((veil, veil, veil)), dst=image)


def finish(image: Image, weather: Weather, atmosphere: Atmosphere) -> None:
    """Blurs by half a pixel, as a lens does, and adds the sensor's noise."""
    cv2.GaussianBlur(image, (3, 3), 0.55, dst=image)
    noise = sensor_noise()
    if image.size > len(noise):
        noise = np.resize(noise, 2 * image.size)
    first = int(atmosphere.noise_offset * (len(noise) - image.size))
    grain = noise[first : first + image.size].reshape(image.shape)
    scale = weather.noise / 16
    cv2.addWeighted(image, 1.0, grain, scale, -128 * scale, dst=image)
