"""The road: lanes, margins, and where road coordinates lie on the ground.

Road coordinates are (s, t) in metres: s along the road, from below the camera; t across, to the right. Traffic keeps
right; t = 0 is the right edge of the median (or the left edge of a one-way road).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from intra_search.scenes.synthetic.chance import Chance

Points = NDArray[np.float64]

NEAREST = 1.5
"""Metres. Nothing on the ground is drawn nearer: that is always below the picture."""
FARTHEST = 100.0


class Road(NamedTuple):
    """Lengths in metres, curvatures in 1 / m."""

    curvature: float
    curvature_rate: float
    """Change of curvature per metre (clothoid)."""
    crest: float
    """Vertical curvature; small enough that no part of the road hides another."""
    num_right: int
    num_left: int
    """Lanes of the own direction (right) and of the opposite one (left; 0: a one-way road)."""
    lane_width: float
    median: float
    """Width of the painted island between the directions."""
    margin: float
    """Asphalt beyond the outermost lane, on either side."""
    own_lane: int

    @property
    def right(self) -> float:
        """Right edge of the rightmost lane."""
        return self.num_right * self.lane_width

    @property
    def left(self) -> float:
        """Left edge of the leftmost lane."""
        return -self.median - self.num_left * self.lane_width if self.num_left else 0.0

    def lane_center(self, lane: int) -> float:
        """Middle (t) of lane 0, 1, …, counted from t = 0 to the right; negative numbers are opposite lanes."""
        if lane >= 0:
            return (lane + 0.5) * self.lane_width
        return -self.median + (lane + 0.5) * self.lane_width

    def ground(self, points: Points, above: Points | float = 0.0) -> Points:
        """(N, 3) metres right, up and ahead of the origin, for points (N, 2) in road coordinates, `above` the road."""
        s, t = points[:, 0], points[:, 1]
        heading = s * (self.curvature + 0.5 * self.curvature_rate * s)
        center = s * s * (self.curvature / 2 + self.curvature_rate * s / 6)
        ground = np.empty((len(points), 3))
        ground[:, 0] = center + t * np.cos(heading)
        ground[:, 1] = 0.5 * self.crest * s * s + above
        ground[:, 2] = s - t * np.sin(heading)
        return ground


def sample_road(chance: Chance) -> Road:
    """A random road: anything from city streets and country roads to motorways."""
    num_right = chance.choice((1, 2, 2, 3, 3, 4))
    two_way = chance.happens(0.65)
    num_left = max(1, num_right - chance.integer(0, 1)) if two_way else 0
    median = chance.uniform(1.6, 3.2) if two_way and chance.happens(0.22) else 0.0
    return Road(
        curvature=chance.normal(0.0, 0.0016),
        curvature_rate=chance.normal(0.0, 1e-5),
        crest=chance.uniform(-1.2e-4, 1.5e-4),
        num_right=num_right,
        num_left=num_left,
        lane_width=chance.uniform(3.2, 3.75),
        median=median,
        margin=chance.choice((0.4, 0.8, 1.6, 2.8)),
        own_lane=chance.integer(0, num_right - 1),
    )
