"""A pinhole camera above the own lane, for pictures of the road at any size."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from intra_search.scenes.synthetic.chance import Chance
from intra_search.scenes.synthetic.road import Points, Road

Pixels = NDArray[np.int32]

SHIFT = 4
"""Fractional bits of pixel coordinates, as OpenCV's drawing functions take them."""
_FAR_OUT = 20_000.0
"""Largest coordinate in pixels: OpenCV draws wrongly when coordinates overflow."""


class Camera(NamedTuple):
    """Angles in radians, lengths in metres; focal length and centre row as shares, so that any size fits."""

    height: float
    across: float
    """Road coordinate t."""
    yaw: float
    pitch: float
    roll: float
    focal: float
    """As a share of the picture's width (of twice its height, if it is narrower than 2 : 1)."""
    center_row: float
    """Share of the picture above the optical axis: less than a half, because sky is cut off."""


def sample_camera(chance: Chance, road: Road) -> Camera:
    return Camera(
        height=chance.uniform(1.3, 1.75),
        across=road.lane_center(road.own_lane) + chance.normal(0.0, 0.25),
        yaw=chance.normal(0.0, 0.02),
        pitch=chance.normal(0.0, 0.008),
        roll=chance.normal(0.0, 0.008),
        focal=chance.uniform(0.75, 1.0),
        center_row=chance.uniform(0.22, 0.42),
    )


class View:
    """What a camera sees of a road, in a picture of `height` x `width` pixels."""

    def __init__(self, camera: Camera, road: Road, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.camera, self.road = camera, road
        self.focal = camera.focal * max(width, 2 * height)
        self.center = (width / 2, camera.center_row * height)
        self._rotation = _rotation(camera)
        self._position = np.array([camera.across, camera.height, 0.0])

    @property
    def horizon(self) -> float:
        """Row of the horizon of flat ground, at the middle column."""
        return self.center[1] + self.focal * math.tan(self.camera.pitch)

    def horizon_row(self, column: float) -> float:
        """Row of the horizon at a column; the horizon is tilted when the camera is."""
        by_column, by_row, constant = (float(entry) for entry in self.ground_map()[2])
        return -(by_column * column + constant) / by_row

    def project(self, points: Points, above: Points | float = 0.0) -> Points:
        """(N, 2) column and row in pixels, of (N, 2) road coordinates. The middle of the first pixel is 0, 0."""
        seen = (self.road.ground(points, above) - self._position) @ self._rotation
        scale = self.focal / np.maximum(seen[:, 2], 0.3)
        pixels = np.empty((len(points), 2))
        pixels[:, 0] = self.center[0] - 0.5 + scale * seen[:, 0]
        pixels[:, 1] = self.center[1] - 0.5 - scale * seen[:, 1]
        return pixels

    def fixed(self, points: Points, above: Points | float = 0.0) -> Pixels:
        """`project`, as integers with `SHIFT` fractional bits."""
        return fixed_point(self.project(points, above))

    def ground_map(self) -> Points:
        """(3, 3) homography from pixels to metres right and ahead of the camera on flat ground."""
        column, row = self.center
        rays = self._rotation @ np.array(
            [
                [1 / self.focal, 0, (0.5 - column) / self.focal],
                [0, -1 / self.focal, (row - 0.5) / self.focal],
                [0, 0, 1],
            ]
        )
        return np.stack([self.camera.height * rays[0], self.camera.height * rays[2], -rays[1]])


def fixed_point(pixels: Points) -> Pixels:
    """Pixel coordinates as integers with `SHIFT` fractional bits."""
    return np.rint(np.clip(pixels, -_FAR_OUT, _FAR_OUT) * (1 << SHIFT)).astype(np.int32)


def _rotation(camera: Camera) -> Points:
    """(3, 3) with the camera's right, up and forward axes as columns, in axes right, up, ahead of the road."""
    sin_y, cos_y = math.sin(camera.yaw), math.cos(camera.yaw)
    sin_p, cos_p = math.sin(camera.pitch), math.cos(camera.pitch)
    sin_r, cos_r = math.sin(camera.roll), math.cos(camera.roll)
    # Positive yaw looks to the right, positive pitch up, positive roll leans to the right.
    yaw = np.array([[cos_y, 0, sin_y], [0, 1, 0], [-sin_y, 0, cos_y]])
    pitch = np.array([[1, 0, 0], [0, cos_p, sin_p], [0, -sin_p, cos_p]])
    roll = np.array([[cos_r, sin_r, 0], [-sin_r, cos_r, 0], [0, 0, 1]])
    rotation: Points = yaw @ pitch @ roll
    return rotation
