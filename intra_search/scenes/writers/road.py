"""A flat road with lane dividers, seen by a level camera: the drawn scenes of the lane benchmarks.

Lengths are metres: x to the right of the camera, z forward. Every picture depends on its random generator alone.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

LANE_WIDTH = 3.5
DASH, GAP = 3.0, 9.0
NEAREST, FARTHEST = 4.0, 70.0
"""Distances where paint and labels begin and end."""
_SHIFT = 4  # fractional bits of a drawn point


class Camera(NamedTuple):
    """A level pinhole camera above the road."""

    focal: float
    """In pixels."""
    center: float
    """Column of the vanishing point."""
    horizon: float
    """Row of the horizon."""
    height: float
    """Metres above the road."""

    def column(self, x: float, z: float) -> float:
        return self.center + self.focal * x / z

    def row(self, z: float) -> float:
        return self.horizon + self.focal * self.height / z

    def distance(self, row: float) -> float:
        """Metres to the road point on a row below the horizon."""
        return self.focal * self.height / (row - self.horizon)


class Divider(NamedTuple):
    """A line between two lanes."""

    label: int
    """Class 1..4 from far left to far right; 0 for farther ones."""
    offset: float
    """Metres to the right of the camera, at z = 0."""
    dashed: bool
    phase: float
    """Distance of the first dash in metres."""

    def dashes(self) -> list[tuple[float, float]]:
        """Painted pieces as (start, end) distances, nearest first; in a solid line they follow without gaps."""
        step = DASH + GAP if self.dashed else DASH
        return [(start, start + DASH) for start in np.arange(self.phase, FARTHEST, step).tolist()]


class Road(NamedTuple):
    """Dividers that run side by side on parabolas."""

    dividers: tuple[Divider, ...]
    heading: float
    """Metres to the right per metre forward, at the camera."""
    bend: float
    """1 / radius, in 1 / m; positive to the right."""

    def x(self, divider: Divider, z: float) -> float:
        return divider.offset + self.heading * z + self.bend * z * z / 2


class Mood(NamedTuple):
    """What makes a scene difficult."""

    light: float = 1.0
    glare: bool = False
    shadows: bool = False
    cars: int = 0
    paint: float = 1.0
    """0: worn off, 1: fresh."""


def draw_road(random: np.random.Generator, labels: tuple[int, ...], bend: float) -> Road:
    """A road with dividers of these classes (1..4), each dashed or solid; `bend` is its largest bend to either side."""
    shift = random.uniform(-0.5, 0.5)
    phases = random.uniform(NEAREST, NEAREST + DASH, len(labels)).tolist()
    dividers = [
        Divider(label, (label - 2.5) * LANE_WIDTH + shift, bool(random.random() < 0.6), phase)
        for label, phase in zip(labels, phases, strict=True)
    ]
    return Road(tuple(dividers), random.uniform(-0.02, 0.02), random.uniform(-bend, bend))


def draw_ground(random: np.random.Generator, camera: Camera, road: Road, size: tuple[int, int]) -> Image:
    """Sky, land and asphalt without paint: (H, W, 3) RGB."""
    height, width = size
    horizon = round(camera.horizon)
    image = np.empty((height, width, 3), np.uint8)
    zenith, haze = random.uniform(70, 190) + np.array([-25, 0, 30]), random.uniform(150, 230) + np.array([-5, 0, 8])
    image[:horizon] = np.linspace(zenith, haze, horizon)[:, None]
    image[horizon:] = random.integers(60, 110) + random.integers(-15, 25, 3)
    edges = [min((d.offset for d in road.dividers), default=-5.0), max((d.offset for d in road.dividers), default=5.0)]
    reach = np.geomspace(FARTHEST * 4, NEAREST / 4, 40).tolist()
    sides = []
    for offset, way in zip((edges[0] - LANE_WIDTH, edges[1] + LANE_WIDTH), (1, -1), strict=True):
        edge = Divider(0, offset, dashed=False, phase=0.0)
        sides.append([(camera.column(road.x(edge, z), z), camera.row(z)) for z in reach][::way])
    grey = int(random.integers(60, 110))
    cv2.fillPoly(image, [_fixed(np.array(sides[0] + sides[1]))], (grey, grey, grey + 3), cv2.LINE_AA, _SHIFT)
    return image


def paint_dividers(image: Image, camera: Camera, road: Road, width: float, colour: tuple[int, int, int]) -> None:
    """Paints every divider `width` metres broad, in place."""
    for divider in road.dividers:
        for near, far in divider.dashes():
            ends = np.linspace(near, far, 4)
            left = [(camera.column(road.x(divider, z) - width / 2, z), camera.row(z)) for z in ends]
            right = [(camera.column(road.x(divider, z) + width / 2, z), camera.row(z)) for z in ends]
            cv2.fillPoly(image, [_fixed(np.array(left + right[::-1]))], colour, cv2.LINE_AA, _SHIFT)


def paint_mood(random: np.random.Generator, image: Image, camera: Camera, mood: Mood) -> Image:
    """Cars, shadows, light and the sensor's noise over a painted road."""
    height, width = image.shape[:2]
    for _ in range(mood.cars):
        z, x = random.uniform(12, 50), random.choice((-1, 0, 1)) * LANE_WIDTH
        left, right = (camera.column(x + side * 0.9, z) for side in (-1, 1))
        top, bottom = camera.row(z) - 1.5 * camera.focal / z, camera.row(z)
        colour = random.integers(20, 220, 3).tolist()
        cv2.rectangle(image, (int(left), int(top)), (int(right), int(bottom)), colour, cv2.FILLED)
    light = np.full((height, width, 1), mood.light, np.float32)
    if mood.shadows:
        for row in random.integers(round(camera.horizon), height, 4).tolist():
            light[row : row + int(random.integers(5, 60))] *= 0.5
    noise = random.normal(0, 4, (height, width, 1)).astype(np.float32)
    lit = image * light + noise
    if mood.glare:
        column, row = random.integers(0, width), random.integers(0, round(camera.horizon))
        rows, columns = np.ogrid[:height, :width]
        far = ((columns - column) ** 2 + (rows - row) ** 2) / (0.3 * width) ** 2
        lit += 200 * np.exp(-far).astype(np.float32)[..., None]
    return lit.clip(0, 255).astype(np.uint8)


def _fixed(points: NDArray[np.float64]) -> NDArray[np.int32]:
    """Points in OpenCV's fixed-point pixels, limited to coordinates that it can draw."""
    pixels: NDArray[np.int32] = np.rint(points.clip(-(2**14), 2**14) * 2**_SHIFT).astype(np.int32)
    return pixels
