"""Writes images and masks. Raises `StorageError` when a file cannot be written."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from intra_search.errors import StorageError

_JPEG_QUALITY = 95


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Writes an RGB picture (H, W, 3) as JPEG or PNG, by its suffix."""
    options = {"compress_level": 1} if path.suffix == ".png" else {"quality": _JPEG_QUALITY}
    _save(Image.fromarray(image), path, options)


def write_mask(path: Path, labels: NDArray[np.uint8], palette: dict[int, tuple[int, int, int]] | None = None) -> None:
    """Writes labels (H, W) as an 8-bit PNG whose values are the labels: grey, or with a palette for viewers."""
    image = Image.fromarray(labels)
    if palette is not None:
        image.putpalette(bytes(part for index in range(256) for part in palette.get(index, (0, 0, 0))))
    _save(image, path, {})


def _save(image: Image.Image, path: Path, options: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, **options)
    except (OSError, ValueError) as error:  # from Pillow: no space, no permission, an unknown suffix
        reason = getattr(error, "strerror", None) or str(error)
        raise StorageError(str(path), "must be writable as a picture", reason, "check path, suffix and space") from None
