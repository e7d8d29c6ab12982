"""Images and masks as files."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_JPEG_QUALITY = 95


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """An RGB picture (H, W, 3) as JPEG or PNG, by its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        Image.fromarray(image).save(path, compress_level=1)
    else:
        Image.fromarray(image).save(path, quality=_JPEG_QUALITY)


def write_mask(path: Path, labels: NDArray[np.uint8], palette: dict[int, tuple[int, int, int]] | None = None) -> None:
    """Labels (H, W) as an 8-bit PNG whose values are the labels: grey, or with colours for viewers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels)
    if palette is not None:
        image.putpalette(bytes(part for index in range(256) for part in palette.get(index, (0, 0, 0))))
    image.save(path)
