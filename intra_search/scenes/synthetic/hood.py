"""The own car's hood at the bottom of the picture, whose label is 255 (ignored)."""

from typing import NamedTuple

import cv2
import numpy as np

from intra_search.scenes.labels import IGNORED
from intra_search.scenes.synthetic.canvas import Canvas
from intra_search.scenes.synthetic.chance import Chance
from intra_search.scenes.synthetic.weather import Color, Weather, lit


class Hood(NamedTuple):
    """As shares of the picture's width (middle, half width) and height (rise above the lower edge)."""

    middle: float
    half_width: float
    rise: float
    color: Color


def sample_hood(chance: Chance) -> Hood | None:
    if not chance.happens(0.4):
        return None
    tone = chance.choice((28.0, 60.0, 150.0, 200.0))
    color = (tone, tone * chance.uniform(0.9, 1.02), tone * chance.uniform(0.9, 1.1))
    return Hood(chance.uniform(0.46, 0.54), chance.uniform(0.42, 0.62), chance.uniform(0.04, 0.13), color)


def draw_hood(canvas: Canvas, hood: Hood, weather: Weather) -> None:
    """Covers image and labels below a flat arch; a bright band along its edge reflects the sky."""
    height, width = canvas.view.height, canvas.view.width
    share = np.linspace(-1.0, 1.0, 33)
    arch = np.stack([hood.middle + hood.half_width * share, 1.0 - hood.rise * (1 - share**2) ** 0.5], axis=1)
    for inset, factor in ((0.0, 1.0), (0.18, 1.3), (0.34, 0.9)):
        shape = arch.copy()
        shape[:, 1] += inset * hood.rise
        corners = np.rint(shape * (width, height)).astype(np.int32)
        cv2.fillPoly(canvas.image, [corners], lit(hood.color, weather, factor * weather.exposure))
        if inset == 0.0:
            cv2.fillPoly(canvas.labels, [corners], IGNORED)
