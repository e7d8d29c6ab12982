"""The ground before any paint: asphalt with its repairs, kerbs, verges; and the shadows that fall on it."""

from typing import NamedTuple

import numpy as np

from intra_search.scenes.synthetic.chance import Chance
from intra_search.scenes.synthetic.lane_lines import Span
from intra_search.scenes.synthetic.marking import crossbar, strip
from intra_search.scenes.synthetic.road import FARTHEST, NEAREST, Points, Road
from intra_search.scenes.synthetic.weather import Color, Weather


class Patch(NamedTuple):
    corners: Points
    """(V, 2) road coordinates."""
    color: Color


class Shade(NamedTuple):
    corners: Points
    light: float
    """Share of the light that is left, 0..1."""


class Pavement(NamedTuple):
    land: Color
    patches: list[Patch]
    shades: list[Shade]
    grain: float
    """Amplitude of the asphalt's grain, as a share."""
    blotches: float
    wear: float
    """0: fresh paint, 1: half of it is gone."""
    offset: tuple[float, float]
    """Where the scene's part of the noise tile begins, in pixels of the tile."""


def sample_pavement(chance: Chance, road: Road, weather: Weather, side_street: Span | None) -> Pavement:
    land: Color = chance.choice(((96, 112, 66), (112, 116, 76), (122, 112, 92), (128, 126, 122)))
    tone = chance.normal(98.0, 13.0) * (1.0 - 0.32 * weather.wet)
    asphalt: Color = (tone, tone * chance.uniform(0.98, 1.01), tone * chance.uniform(0.97, 1.05))
    left, right = road.left - road.margin, road.right + road.margin
    patches = [
        Patch(strip(NEAREST, FARTHEST, side, side + width)[0], color) for side, width, color in _verges(chance, road)
    ]
    patches.append(Patch(strip(NEAREST, FARTHEST, left, right)[0], asphalt))
    if side_street is not None:
        patches.append(Patch(crossbar(*side_street, left - 60.0, right + 60.0)[0], asphalt))
    patches += _repairs(chance, road, tone)
    return Pavement(
        land=land,
        patches=patches,
        shades=_tracks(chance, road) + _shadows(chance, road, weather),
        grain=chance.uniform(0.1, 0.3),
        blotches=chance.uniform(0.05, 0.22),
        wear=chance.share() ** 1.6 if chance.happens(0.8) else 0.0,
        offset=(512 * chance.share(), 512 * chance.share()),
    )


def _verges(chance: Chance, road: Road) -> list[tuple[float, float, Color]]:
    """Left edge, width and colour of pavements, kerbs and gravel beside the asphalt."""
    bands: list[tuple[float, float, Color]] = []
    for is_right in (False, True):
        edge = (road.right if is_right else -road.left) + road.margin
        pairs: list[tuple[float, float, Color]]
        if chance.happens(0.55):
            grey, kerb = chance.uniform(125, 170), chance.uniform(165, 205)
            pairs = [(edge, chance.uniform(1.8, 4.5), (grey, grey - 3, grey - 9)), (edge, 0.18, (kerb, kerb, kerb - 5))]
        else:
            brown = chance.uniform(95, 135)
            pairs = [(edge, chance.uniform(0.5, 1.6), (brown, brown - 8, brown - 26))]
        bands += [(start if is_right else -start - width, width, color) for start, width, color in pairs]
    return bands


def _repairs(chance: Chance, road: Road, tone: float) -> list[Patch]:
    """Patches, joints and tar lines: dark or bright shapes that are no markings."""
    patches: list[Patch] = []
    left, right = road.left - 0.3, road.right + 0.3
    for _ in range(chance.integer(0, 3)):
        grey = tone * chance.uniform(0.72, 1.2)
        s, t = chance.uniform(3.0, 40.0), chance.uniform(left, right - 1.5)
        patches.append(
            Patch(
                strip(s, s + chance.uniform(2, 14), t, min(right, t + chance.uniform(0.8, 3.4)))[0], (grey, grey, grey)
            )
        )
    for _ in range(chance.integer(0, 4)):
        patches.append(Patch(_crack(chance, left, right), (tone * 0.45, tone * 0.45, tone * 0.46)))
    if chance.happens(0.18):
        grey = tone * chance.choice((0.55, 1.35))
        spacing = chance.uniform(5.0, 12.0)
        for s in np.arange(spacing * chance.share() + 2.0, 50.0, spacing).tolist():
            patches.append(Patch(crossbar(s, s + 0.08, left, right)[0], (grey, grey, grey)))
    return patches


def _crack(chance: Chance, left: float, right: float) -> Points:
    """A wandering band of tar, along the road or across it."""
    num = 9
    s, t, width = chance.uniform(2.0, 25.0), chance.uniform(left, right), chance.uniform(0.04, 0.12)
    step_s, step_t = (chance.uniform(1.0, 3.0), 0.15) if chance.happens(0.6) else (0.15, 0.7)
    line = np.array([(step_s * chance.uniform(0.6, 1.4), step_t * chance.uniform(-1.0, 1.3)) for _ in range(num)])
    line = np.cumsum(line, axis=0) + np.array([s, t])
    side = np.array([0.0, width]) if step_s > step_t else np.array([width, 0.0])
    return np.concatenate([line - side / 2, line[::-1] + side / 2])


def _tracks(chance: Chance, road: Road) -> list[Shade]:
    """Two bands of every lane that tyres have darkened."""
    light = 1.0 - chance.uniform(0.0, 0.16)
    width = chance.uniform(0.5, 0.8)
    shades = []
    for lane in range(-road.num_left, road.num_right):
        center = road.lane_center(lane)
        for side in (-0.8, 0.8):
            shades.append(Shade(strip(NEAREST, 60.0, center + side - width / 2, center + side + width / 2)[0], light))
    return shades


def _shadows(chance: Chance, road: Road, weather: Weather) -> list[Shade]:
    """Shadows of trees, posts and houses from one side of the road."""
    if weather.kind != "sun" or not chance.happens(0.75):
        return []
    light, from_left = 1.0 - weather.shadow, chance.happens(0.5)
    slant = chance.uniform(-0.6, 0.6)
    reach = chance.uniform(0.25, 1.0) * (road.right - road.left)
    near, far = (road.left - 5.0, road.left + reach) if from_left else (road.right + 5.0, road.right - reach)
    shades, s = [], chance.uniform(2.0, 15.0)
    kind = chance.share()
    while s < 70.0:
        if kind < 0.45:
            shades += [Shade(_blob(chance, s, far + chance.uniform(-2.0, 2.0)), light) for _ in range(2)]
            s += chance.uniform(4.0, 14.0)
        elif kind < 0.7:
            corners = [
                (s, near),
                (s + 0.3, near),
                (s + 0.3 + slant * (far - near), far),
                (s + slant * (far - near), far),
            ]
            shades.append(Shade(np.array(corners), light))
            s += chance.uniform(12.0, 28.0)
        else:
            end = s + chance.uniform(6.0, 25.0)
            tip = slant * (far - near)
            shades.append(Shade(np.array([(s, near), (s + tip, far), (end + tip, far), (end, near)]), light))
            s = end + chance.uniform(3.0, 20.0)
    return shades


def _blob(chance: Chance, s: float, t: float) -> Points:
    """An irregular shadow of leaves."""
    num = 14
    angles = np.arange(num) * (2 * np.pi / num)
    reach = np.array([chance.uniform(0.6, 1.2) for _ in range(num)])
    size = chance.uniform(1.2, 3.2)
    return np.stack([s + 1.3 * size * reach * np.sin(angles), t + size * reach * np.cos(angles)], axis=1)
