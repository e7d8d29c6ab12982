"""Pictures of scenes with their labels painted over them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from intra_search.scenes.labels import IGNORED, SceneClass

OPACITY = 0.65
GREY = (110, 110, 110)
"""Colour of ignored pixels."""
PALETTE = (
    (230, 60, 60),
    (60, 140, 255),
    (250, 200, 40),
    (70, 200, 90),
    (190, 90, 230),
    (255, 140, 40),
    (40, 210, 210),
    (250, 110, 180),
)
"""Colours of the classes in their order: bright and easy to tell apart, which the data sets' own often are not."""


def painted(image: NDArray[np.uint8], labels: NDArray[np.uint8], classes: Sequence[SceneClass]) -> NDArray[np.uint8]:
    """The picture (H, W, 3) with every class but the background painted over it in its colour."""
    colors = np.zeros((256, 3), np.float32)
    for index in range(1, len(classes)):
        colors[index] = PALETTE[(index - 1) % len(PALETTE)]
    colors[IGNORED] = GREY
    shown = (labels > 0)[..., None]
    mixed = np.where(shown, (1 - OPACITY) * image + OPACITY * colors[labels], image)
    return np.clip(mixed, 0, 255).astype(np.uint8)


def sheet(rows: Sequence[Sequence[NDArray[np.uint8]]], gap: int = 4) -> NDArray[np.uint8]:
    """Pictures of one size in rows and columns, with white gaps."""
    height, width, _ = rows[0][0].shape
    columns = max(len(row) for row in rows)
    canvas = np.full((len(rows) * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for down, row in enumerate(rows):
        for across, picture in enumerate(row):
            top, left = down * (height + gap), across * (width + gap)
            canvas[top : top + height, left : left + width] = picture
    return canvas
