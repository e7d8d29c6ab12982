"""How bright the ground is at every pixel (texture, shadows, headlights), and how much paint is left after wear."""

import cv2
import numpy as np
from numpy.typing import NDArray

from intra_search.scenes.synthetic.camera import SHIFT, View, fixed_point
from intra_search.scenes.synthetic.pavement import Pavement, Shade
from intra_search.scenes.synthetic.texture import GROUND_SCALE, ground_tile
from intra_search.scenes.synthetic.weather import Weather

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

GAIN_ONE = 64
"""The gain map's value for "no change", in 8 bits; so gains are 0 to 4."""


def ground_texture(view: View, top: int, pavement: Pavement) -> Image:
    """(H - top, W, 3): the noise tile as it looks on flat ground: grain, blotches and wear."""
    to_tile = np.array([[GROUND_SCALE, 0, pavement.offset[0]], [0, GROUND_SCALE, pavement.offset[1]], [0, 0, 1]])
    from_row = np.array([[1.0, 0, 0], [0, 1, top], [0, 0, 1]])
    matrix = to_tile @ view.ground_map() @ from_row
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (view.width, view.height - top)
    texture: Image = cv2.warpPerspective(ground_tile(), matrix, size, flags=flags, borderMode=cv2.BORDER_WRAP)
    return texture


def row_distances(view: View, top: int) -> Floats:
    """(H - top, 1): metres to the ground at the middle of every row."""
    below = np.arange(top, view.height, dtype=np.float32) + 0.5 - view.horizon
    distances: Floats = (view.camera.height * view.focal / np.maximum(below, 0.5))[:, None].astype(np.float32)
    return distances


def ground_gain(view: View, top: int, texture: Image, pavement: Pavement, weather: Weather) -> Image:
    """(H - top, W): brightness factor times `GAIN_ONE`."""
    distance = row_distances(view, top)
    # A far pixel averages many grains: their amplitude falls with the length of road that it covers.
    fade = 1.0 / (1.0 + 1.5 * GROUND_SCALE * distance / view.focal)
    gain = texture[..., 0] * (fade * np.float32(pavement.grain / 64))
    gain += texture[..., 1] * np.float32(pavement.blotches / 64)
    gain += 1.0 - 2.0 * np.float32(pavement.blotches) - fade * np.float32(2 * pavement.grain)
    gain *= _shade(view, pavement.shades)[top:] * np.float32(weather.exposure * GAIN_ONE / 255)
    if weather.headlights:
        gain *= _headlights(view, distance, weather.headlights)
    np.clip(gain, 0, 255, out=gain)
    whole: Image = gain.astype(np.uint8)
    left, right = view.horizon_row(0.0) - top, view.horizon_row(float(view.width)) - top
    sky = np.array([(0, -9), (view.width, -9), (view.width, right - 1), (0, left - 1)])
    cv2.fillPoly(whole, [fixed_point(sky)], GAIN_ONE, cv2.LINE_8, SHIFT)
    return whole


def _shade(view: View, shades: list[Shade]) -> Image:
    """(H, W): share of light, 255 for all of it; edges are blurred by about a hundredth of the picture's width."""
    shade = np.full((view.height, view.width), 255, np.uint8)
    if not shades:
        return shade
    corners = fixed_point(view.project(np.concatenate([shade.corners for shade in shades])))
    first = 0
    for item in shades:
        last = first + len(item.corners)
        cv2.fillPoly(shade, [corners[first:last]], round(255 * item.light), cv2.LINE_8, SHIFT)
        first = last
    size = max(3, view.width // 100 | 1)
    softened: Image = cv2.blur(shade, (size, max(3, size // 2 | 1)))
    return softened


def _headlights(view: View, distance: Floats, strength: float) -> Floats:
    """(H - top, W): brightness factor of the own headlights: a cone that is brightest about ten metres ahead."""
    across = (np.arange(view.width, dtype=np.float32) - view.center[0]) / np.float32(view.focal)
    spread = distance / (2.2 + 0.16 * distance)
    cone = np.exp(-((across[None, :] * spread) ** 2))
    along = np.exp(-distance / 26.0) * np.minimum(1.0, distance / 7.0)
    gain: Floats = 1.0 + np.float32(3.6 * strength) * (cone * along - np.float32(0.14))
    return gain


def worn_cover(wear: Image, amount: float) -> Floats:
    """(N,): how much of each painted pixel is covered, 0..1, from its wear noise (N,) around 128."""
    if amount == 0.0:
        return np.full(len(wear), 0.95, np.float32)
    # The noise is above 128 on half of the ground, so with amount 1 paint is worn on half of it.
    worn = (wear.astype(np.float32) - np.float32(190.0 - 80.0 * amount)) * np.float32(1 / 60.0)
    cover: Floats = np.float32(0.95 - 0.25 * amount) - np.clip(worn, 0.0, 1.0) * np.float32(0.35 + 0.25 * amount)
    return cover
