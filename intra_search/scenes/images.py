"""Decoding of images and masks, with one-line errors for files that cannot be used.

Pillow, not OpenCV: OpenCV expands palettes to colours (the index, which is the label, is lost), fills truncated JPEGs
with grey without an error, and rotates images by their EXIF tag but not their masks. Both decode JPEG equally fast, and
Pillow is faster for palette PNG (846 x 427: 1.9 against 3.4 ms; measured). torchvision's decoders are deprecated.
"""

import contextlib
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from intra_search.errors import IntraSearchError, SceneError, SettingError
from intra_search.scenes.files import check_regular
from intra_search.scenes.labels import UNKNOWN, Table, color_labels

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

MAX_PIXELS = 80_000_000
"""Of one image: eight times a frame of ApolloScape. A file of a few kilobytes may claim many more."""
_FORMATS = ("PNG", "JPEG")
"""Pillow would try some forty more, whatever the file's name says: for PostScript it starts another program."""
_COLOR_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_INDEX_MODES = ("1", "L", "P")
# Damaged metadata is an error here, so that it names its file. These modules warn of nothing else.
warnings.filterwarnings("error", module=r"PIL\.(Jpeg|Png|Tiff)ImagePlugin")
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Image (H, W, 3) RGB uint8. Raises `SceneError` when it is missing, damaged or has more than 8 bits."""
    with _opened(path) as image:
        image.load()
        if image.mode not in _COLOR_MODES:
            remedy = "save it as 8-bit RGB"
            raise SceneError(str(path), "an image must have 8 bits per channel", f"mode {image.mode}", remedy)
        return np.array(image.convert("RGB"))


def read_mask(path: Path, table: Table, colors: Mapping[tuple[int, int, int], int]) -> NDArray[np.uint8]:
    """Labels (H, W) of a PNG mask: `table[index]` for palette or grey PNGs, `colors[colour]` for RGB.

    Raises `SceneError` when the mask is missing or damaged, is RGB although `colors` is empty, or holds a value of no
    class."""
    with _opened(path) as image:
        image.load()
        if image.mode in _INDEX_MODES:
            indices = np.array(image, np.uint8)
            return _known(path, table[indices], indices)
        if image.mode in ("RGB", "RGBA") and colors:
            pixels = np.array(image.convert("RGB"))
            return _known(path, color_labels(pixels, colors), pixels)
        rule = "a mask must be an 8-bit PNG of class indices" + (" or of class colours" if colors else "")
        remedy = "save it in palette mode, or grey with the index as value"
        raise SceneError(str(path), rule, f"mode {image.mode}", remedy)


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Values (H, W) of an 8-bit grey image. Raises `SceneError` when it is missing, damaged or of another kind: for
    colour or 16-bit images nothing says which value in 0..255 is meant."""
    with _opened(path) as image:
        image.load()
        if image.mode != "L":
            raise SceneError(str(path), "must be an 8-bit grey image", f"mode {image.mode}", "save it as 8-bit grey")
        return np.array(image)


def image_size(path: Path) -> tuple[int, int]:
    """Rows and columns of an image, without decoding it. Raises `SceneError` when it is missing or no image."""
    with _opened(path) as image:
        return image.height, image.width


def check_same_size(image_path: Path, image: NDArray[np.uint8], mask_path: Path, mask: NDArray[np.uint8]) -> None:
    """Raises `SceneError` unless image and mask have the same height and width."""
    if image.shape[:2] != mask.shape:
        found = f"{mask.shape[1]} x {mask.shape[0]} for {image.shape[1]} x {image.shape[0]} of {image_path}"
        raise SceneError(str(mask_path), "a mask must be as large as its image", found, "export the mask again")


def data_root(root: str | None) -> Path:
    """The folder of a data set. Raises `SettingError` when it is no folder."""
    path = Path(root or "")
    if not root or not os.path.isdir(path):
        found = repr(root) if root is None or not os.path.exists(path) else f"{root!r}, which is no folder"
        remedy = "give the folder with --set scenes.root='\"DIR\"'"
        raise SettingError("scenes.root", "must be an existing folder that this machine can read", found, remedy)
    return path


def sizes_signature(paths: Iterable[Path], *, gaps: bool = False) -> str:
    """Hash of the files' sizes in bytes: it shows, without reading any file, that a data set was replaced.

    Raises `SceneError` for a missing file; with `gaps`, files may be missing, which changes the hash."""
    digest = sha256()
    for path in paths:
        try:
            digest.update(f"{os.stat(path).st_size}\n".encode())
        except (FileNotFoundError, NotADirectoryError):
            if not gaps:
                raise _missing(path) from None
            digest.update(b"-\n")
        except OSError as error:
            raise SceneError(str(path), "must be readable", error.strerror, "check links and permissions") from None
    return digest.hexdigest()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    """A file whose head is read. Whatever Pillow raises, here and while the block decodes, becomes a `SceneError`: on
    damaged files its readers raise almost anything, such as `ZeroDivisionError`."""
    try:
        check_regular(path)
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _too_large(path, f"{image.width} x {image.height}")
            yield image
    except (IntraSearchError, MemoryError):
        raise
    except FileNotFoundError:
        raise _missing(path) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path, str(error)) from None
    except Warning as error:
        remedy = "save it anew without metadata"
        raise SceneError(str(path), "must have undamaged metadata", str(error), remedy) from None
    except Exception as error:
        found = str(error) or type(error).__name__
        raise SceneError(str(path), "must be a whole image", found, "copy it again or remove its scene") from None


def _too_large(path: Path, found: str) -> SceneError:
    return SceneError(str(path), f"must have at most {MAX_PIXELS:,} pixels", found, "reduce it or remove its scene")


def _missing(path: Path) -> SceneError:
    return SceneError(str(path), "must exist", "no such file", "restore it or remove its scene")


def _known(path: Path, labels: NDArray[np.uint8], pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    unknown = labels == UNKNOWN
    if not unknown.any():
        return labels
    first = pixels[unknown][0]
    value = f"id {int(first)}" if first.ndim == 0 else f"colour {tuple(int(part) for part in first)}"
    rule = "every pixel must hold a class of the data set, or 255"
    remedy = "add the class to the data set's table, or repaint these pixels (255 = ignored)"
    raise SceneError(str(path), rule, f"{value} ({int(unknown.sum())} pixels of unknown classes)", remedy)
