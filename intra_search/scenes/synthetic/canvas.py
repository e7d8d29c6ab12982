"""Picture and labels of one scene while they are drawn."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from intra_search.scenes.synthetic.camera import SHIFT, View, fixed_point
from intra_search.scenes.synthetic.face import Thing
from intra_search.scenes.synthetic.marking import Marking
from intra_search.scenes.synthetic.pavement import Patch
from intra_search.scenes.synthetic.weather import Color

Image = NDArray[np.uint8]

HIDDEN = 254
"""Label of things until the picture is finished: wet ground shows reflections, things do not."""
_PAINT_CODE = 64
"""While markings are drawn, a pixel's code is label + 64 * paint."""


class Canvas:
    """`image` (H, W, 3) RGB, `labels` (H, W) train ids."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.image: Image = np.zeros((view.height, view.width, 3), np.uint8)
        self.labels: Image = np.zeros((view.height, view.width), np.uint8)

    def draw_land(self, color: Color) -> None:
        """Fills everything below the horizon, which is tilted when the camera is."""
        height, width = self.view.height, self.view.width
        left, right = self.view.horizon_row(0.0), self.view.horizon_row(float(width))
        corners = fixed_point(np.array([(0.0, left), (width, right), (width, height), (0.0, height)]))
        cv2.fillPoly(self.image, [corners], color, cv2.LINE_8, SHIFT)

    def draw_patches(self, patches: Sequence[Patch]) -> None:
        """Fills pieces of ground, in the image only."""
        kept = [patch for patch in patches if len(patch.corners)]
        corners = self.view.fixed(np.concatenate([patch.corners for patch in kept]))
        first = 0
        for patch in kept:
            last = first + len(patch.corners)
            cv2.fillPoly(self.image, [corners[first:last]], patch.color, cv2.LINE_8, SHIFT)
            first = last

    def draw_markings(self, markings: Sequence[Marking]) -> Image:
        """Draws all markings into the labels; returns the paint of every pixel (H, W), valid where `labels` > 0.

        OpenCV fills every pixel that an outline touches, half a pixel too much on each side. Drawn at twice the size it
        is a quarter: thin lines far away have no gaps, and small pictures have about the share of paint of large ones.
        """
        view = self.view
        codes: Image = np.zeros((2 * view.height, 2 * view.width), np.uint8)
        kept = [marking for marking in markings if len(marking.polygons)]
        corners = view.fixed(np.concatenate([marking.polygons.reshape(-1, 2) for marking in kept]))
        first = 0
        for label, paint, polygons in kept:
            num, size = polygons.shape[:2]
            shapes = list(corners[first : first + num * size].reshape(num, size, 2))
            first += num * size
            # With one fractional bit less, coordinates are doubled.
            cv2.fillPoly(codes, shapes, label + _PAINT_CODE * paint, cv2.LINE_8, SHIFT - 1)
        # Pixel j of the small picture has the same middle as pixel 2 j of the large one.
        small = np.ascontiguousarray(codes[::2, ::2])
        self.labels = small & np.uint8(_PAINT_CODE - 1)
        return small // np.uint8(_PAINT_CODE)

    def draw_things(self, things: Sequence[Thing]) -> None:
        """Draws things over everything, the farthest first; what they hide loses its label."""
        faces = [face for thing in sorted(things, key=lambda thing: -thing.distance) for face in thing.faces]
        if not faces:
            return
        points = np.array([corner for face in faces for corner in face.corners])
        corners = self.view.fixed(points[:, :2], points[:, 2])
        first = 0
        for face in faces:
            last = first + len(face.corners)
            shape = [corners[first:last]]
            cv2.fillPoly(self.image, shape, face.color, cv2.LINE_8, SHIFT)
            cv2.fillPoly(self.labels, shape, HIDDEN, cv2.LINE_8, SHIFT)
            first = last

    def finished_labels(self) -> Image:
        """Labels, with 0 where things hide the road."""
        self.labels[self.labels == HIDDEN] = 0
        return self.labels
