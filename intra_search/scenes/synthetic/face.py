"""Things on or beside the road, made of flat faces."""

from typing import NamedTuple

from intra_search.scenes.synthetic.weather import Color, Weather, lit

Corner = tuple[float, float, float]
"""(s, t, height above the road) in metres."""


class Face(NamedTuple):
    corners: list[Corner]
    color: Color


class Thing(NamedTuple):
    """Faces in drawing order: later ones hide earlier ones. Farther things are drawn first."""

    distance: float
    faces: list[Face]


def shaded(color: Color, weather: Weather, distance: float, factor: float = 1.0) -> Color:
    """The colour of a thing under the scene's sky, seen through `distance` metres of haze."""
    veil = weather.haze * distance / (distance + 90.0)
    near = lit(color, weather, factor * weather.exposure)
    red, green, blue = ((1 - veil) * value + veil * haze for value, haze in zip(near, weather.sky_low, strict=True))
    return red, green, blue


def across(s: float, left: float, right: float, low: float, high: float) -> list[Corner]:
    """Corners of an upright rectangle that faces the camera."""
    return [(s, left, low), (s, right, low), (s, right, high), (s, left, high)]


def along(t: float, start: float, end: float, low: float, high: float) -> list[Corner]:
    """Corners of an upright rectangle parallel to the road."""
    return [(start, t, low), (end, t, low), (end, t, high), (start, t, high)]


def level(height: float, start: float, end: float, left: float, right: float) -> list[Corner]:
    """Corners of a flat rectangle at a height."""
    return [(start, left, height), (start, right, height), (end, right, height), (end, left, height)]
