"""Picture and labels of one scene while they are drawn."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from intra_search.scenes.synthetic.camera import SHIFT, Pixels, View
from intra_search.scenes.synthetic.marking import Marking
from intra_search.scenes.synthetic.road import Points
from intra_search.scenes.synthetic.weather import Color

Image = NDArray[np.uint8]


class Canvas:
    """`image` (H, W, 3) RGB, `labels` (H, W) train ids."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.image: Image = np.zeros((view.height, view.width, 3), np.uint8)
        self.labels: Image = np.zeros((view.height, view.width), np.uint8)

    def fill(self, points: Points, color: Color, above: Points | float = 0.0) -> None:
        """Fills one polygon given in road coordinates, at a height above the road, in the image alone."""
        if len(points):
            cv2.fillPoly(self.image, [self.view.fixed(points, above)], color, cv2.LINE_8, SHIFT)

    def cover(self, corners: Pixels, color: Color, label: int = 0) -> None:
        """Fills one polygon of pixels that hides everything so far, in image and labels."""
        cv2.fillPoly(self.image, [corners], color, cv2.LINE_8, SHIFT)
        cv2.fillPoly(self.labels, [corners], label, cv2.LINE_8, SHIFT)

    def draw_markings(self, markings: Sequence[Marking], colors: Sequence[Color]) -> Image:
        """Draws all markings into the labels; returns the layer of paint, (H, W, 4): colour times cover, and cover."""
        layer: Image = np.zeros((self.view.height, self.view.width, 4), np.uint8)
        kept = [marking for marking in markings if len(marking.polygons)]
        corners = self.view.fixed(np.concatenate([marking.polygons.reshape(-1, 2) for marking in kept]))
        first = 0
        for label, paint, polygons in kept:
            num, size = polygons.shape[:2]
            shapes = list(corners[first : first + num * size].reshape(num, size, 2))
            first += num * size
            cv2.fillPoly(self.labels, shapes, label, cv2.LINE_8, SHIFT)
            cv2.fillPoly(layer, shapes, (*colors[paint], 255), cv2.LINE_8, SHIFT)
        return layer
