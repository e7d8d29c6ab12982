"""Views: what a network sees of a scene. It is resized to the network's size and, for training, changed at random.

Image and labels are changed together. torchvision v2 flips, crops, resizes and colours. OpenCV rotates, because v2's
rotation takes six times as long (image and labels 160 x 416, one core: 2.8 against 0.5 ms; measured).
"""

from math import ceil
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from intra_search.config.scenes import AugmentSettings, ScenesSettings
from intra_search.scenes.labels import IGNORED, Table

FILL = (124, 117, 104)
"""RGB of pixels outside the frame: ImageNet's mean, as in the authors' code. Colours are changed after filling."""

FLIPPED_SHARE = 0.5


class View(NamedTuple):
    """What a network sees of a scene."""

    image: Tensor
    """(3, H, W) uint8 RGB."""
    labels: Tensor
    """(H, W) uint8, class index or 255."""


class _Draw(NamedTuple):
    """Uniform numbers in [0, 1). All are always drawn: so switching one change on does not change the others."""

    flip: float
    zoom: float
    top: float
    left: float
    rotates: float
    angle: float
    brightness: float
    contrast: float
    saturation: float


def view_generator(seed: int, scene: int, view: int) -> torch.Generator:
    """The random numbers of one view: they depend on (seed, scene, view) alone and are the same on every machine.

    The 64-bit seed is the first word of numpy's `SeedSequence((seed, scene, view))`, which is the same in all versions
    of numpy."""
    state = np.random.SeedSequence((seed, scene, view)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def is_flipped(settings: ScenesSettings, generator: torch.Generator) -> bool:
    """Whether `draw_view` flips with this generator; it draws the same numbers as `draw_view`."""
    return settings.augment.flip and _drawn(generator).flip < FLIPPED_SHARE


def evaluation_view(image: NDArray[np.uint8], labels: NDArray[np.uint8], settings: ScenesSettings, cut: int) -> View:
    """A scene at the network's size, without random changes.

    Args: image (h, w, 3), labels (h, w), cut: rows to cut from the top."""
    return reduced_view(image, labels, (settings.height, settings.width), cut)


def training_base(image: NDArray[np.uint8], labels: NDArray[np.uint8], settings: ScenesSettings, cut: int) -> View:
    """The picture that all training views of a scene are made from, no larger than the largest zoom needs.

    Without zoom it is the evaluation view. With a zoom up to z it has z times as many rows and columns, unless the
    frame itself has fewer."""
    zoom = max(1.0, settings.augment.scale[1])
    rows, columns = labels.shape[0] - cut, labels.shape[1]
    height = max(settings.height, min(ceil(settings.height * zoom), rows))
    width = max(settings.width, min(ceil(settings.width * zoom), columns))
    return reduced_view(image, labels, (height, width), cut)


def reduced_view(image: NDArray[np.uint8], labels: NDArray[np.uint8], size: tuple[int, int], cut: int) -> View:
    """A frame without its `cut` top rows, resized to `size` (rows, columns): image antialiased, labels nearest."""
    # Channels-last: torchvision resizes it up to four times as fast as a contiguous (3, H, W).
    channels_last = torch.from_numpy(image[cut:]).permute(2, 0, 1)
    return _resized(View(channels_last, torch.from_numpy(labels[cut:])), size)


def draw_view(base: View, settings: ScenesSettings, swap: Table | None, generator: torch.Generator) -> View:
    """One training view of a scene's `training_base`: flip, zoom and crop, rotation, colour, if the settings have them.

    Without any of them it equals the evaluation view. `swap` renumbers the labels of a flipped scene. The result
    shares no memory with `base`."""
    recipe = settings.augment
    draw = _drawn(generator)
    view = base
    if recipe.flip and draw.flip < FLIPPED_SHARE:
        view = _flipped(view, swap)
    view = _zoomed(view, (settings.height, settings.width), recipe, draw)
    if recipe.rotation > 0 and draw.rotates < 0.5:
        view = _rotated(view, recipe.rotation * (2 * draw.angle - 1))
    if recipe.colour > 0:
        view = view._replace(image=_coloured(view.image, recipe.colour, draw))
    return copied(view)


def _drawn(generator: torch.Generator) -> _Draw:
    return _Draw(*torch.rand(len(_Draw._fields), generator=generator, dtype=torch.float64).tolist())


def copied(view: View) -> View:
    """A copy in contiguous memory, which callers may write to."""
    image = view.image.clone(memory_format=torch.contiguous_format)
    return View(image, view.labels.clone(memory_format=torch.contiguous_format))


def _resized(view: View, size: tuple[int, int]) -> View:
    if tuple(view.labels.shape) == size:
        return view
    image = transforms.resize(view.image, list(size), InterpolationMode.BILINEAR, antialias=True)
    # v2 needs a channel dimension; nearest-exact aligns pixel centres in the same way as the image's bilinear resize.
    labels = transforms.resize(view.labels[None], list(size), InterpolationMode.NEAREST_EXACT)[0]
    return View(image, labels)


def _flipped(view: View, swap: Table | None) -> View:
    labels = view.labels if swap is None else torch.from_numpy(swap[view.labels.numpy()])
    return View(transforms.horizontal_flip(view.image), transforms.horizontal_flip(labels))


def _zoomed(view: View, size: tuple[int, int], recipe: AugmentSettings, draw: _Draw) -> View:
    """Zoom z > 1: a window of 1/z of the frame's rows and columns fills the view. z < 1: the whole frame covers z of
    the view's rows and columns; the rest is `FILL`, with label 255. The place is random."""
    low, high = recipe.scale
    zoom = low + (high - low) * draw.zoom
    if zoom >= 1:
        rows, columns = view.labels.shape
        window = (max(1, round(rows / zoom)), max(1, round(columns / zoom)))
        top, left = _place(rows - window[0], draw.top), _place(columns - window[1], draw.left)
        inside = (slice(top, top + window[0]), slice(left, left + window[1]))
        return _resized(View(view.image[(slice(None), *inside)], view.labels[inside]), size)
    small = _resized(view, (max(1, round(size[0] * zoom)), max(1, round(size[1] * zoom))))
    rows, columns = small.labels.shape
    top, left = _place(size[0] - rows, draw.top), _place(size[1] - columns, draw.left)
    image = torch.tensor(FILL, dtype=torch.uint8)[:, None, None].repeat(1, *size)
    labels = torch.full(size, IGNORED, dtype=torch.uint8)
    image[:, top : top + rows, left : left + columns] = small.image
    labels[top : top + rows, left : left + columns] = small.labels
    return View(image, labels)


def _place(slack: int, draw: float) -> int:
    """A whole number in 0..slack, all equally likely."""
    return int(draw * (slack + 1))


def _rotated(view: View, degrees: float) -> View:
    """Rotated counter-clockwise about the centre."""
    height, width = view.labels.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    pixels = np.ascontiguousarray(view.image.permute(1, 2, 0).numpy())
    labels = np.ascontiguousarray(view.labels.numpy())
    pixels = cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=FILL)
    labels = cv2.warpAffine(labels, matrix, (width, height), flags=cv2.INTER_NEAREST, borderValue=(IGNORED,))
    return View(torch.from_numpy(pixels).permute(2, 0, 1), torch.from_numpy(labels))


def _coloured(image: Tensor, strength: float, draw: _Draw) -> Tensor:
    image = transforms.adjust_brightness(image, 1 + strength * (2 * draw.brightness - 1))
    image = transforms.adjust_contrast(image, 1 + strength * (2 * draw.contrast - 1))
    coloured: Tensor = transforms.adjust_saturation(image, 1 + strength * (2 * draw.saturation - 1))
    return coloured
