"""What stands beside the road: houses, trees, lamp posts, guard rails, the skyline."""

import math
from itertools import pairwise

from intra_search.scenes.synthetic.chance import Chance
from intra_search.scenes.synthetic.face import Corner, Face, Thing, across, along, shaded
from intra_search.scenes.synthetic.lane_lines import Span
from intra_search.scenes.synthetic.road import FARTHEST, Road
from intra_search.scenes.synthetic.weather import Color, Weather

_WALLS: tuple[Color, ...] = (
    (176, 164, 150), (150, 140, 132), (196, 188, 176), (128, 98, 84), (165, 172, 178), (110, 118, 128),
)  # fmt: skip
_FLOOR = 3.2
_LIT_WINDOW: Color = (235, 195, 120)


def sample_surroundings(chance: Chance, road: Road, weather: Weather, side_street: Span | None) -> list[Thing]:
    """Things on both sides of the road, none where a side street joins. In a bend they hide the road behind them."""
    things: list[Thing] = []
    for side in (-1.0, 1.0):
        edge = (road.right if side > 0 else -road.left) + road.margin
        kind = chance.share()
        if kind < 0.45:
            things += _street(chance, side, edge + chance.uniform(3.0, 8.0), weather)
        if kind > 0.3:
            things += _trees(chance, side, edge + chance.uniform(2.5, 5.0), weather)
        if chance.happens(0.5):
            things += _lamp_posts(chance, side, edge + 0.8, weather)
        if chance.happens(0.3):
            things += _rail(side * (edge + 0.4), weather)
    if side_street is None:
        return things
    start, end = side_street[0] - 3.0, side_street[1] + 3.0
    return [thing for thing in things if thing.distance < start or _nearest(thing) > end]


def _nearest(thing: Thing) -> float:
    return min(corner[0] for face in thing.faces for corner in face.corners)


def _street(chance: Chance, side: float, edge: float, weather: Weather) -> list[Thing]:
    things, s = [], chance.uniform(3.0, 25.0)
    while s < 105.0:
        length, height = chance.uniform(9.0, 24.0), chance.uniform(5.0, 24.0)
        if chance.happens(0.85):
            things.append(_house(chance, s, length, height, side, edge + chance.uniform(0.0, 3.0), weather))
        s += length + chance.uniform(0.5, 12.0)
    return things


def _house(chance: Chance, s: float, length: float, height: float, side: float, edge: float, weather: Weather) -> Thing:
    wall = chance.choice(_WALLS)
    near, far = side * edge, side * (edge + 12.0)
    end = s + length
    faces = [
        Face(across(s, min(near, far), max(near, far), -0.5, height), shaded(wall, weather, s, 0.72)),
        Face(along(near, s, end, -0.5, height), shaded(wall, weather, s, 0.95)),
    ]
    lit_share = 0.45 if weather.kind == "night" else 0.2 if weather.kind == "dusk" else 0.0
    for floor in range(min(6, int(height / _FLOOR))):
        low = floor * _FLOOR + 1.0
        color = _LIT_WINDOW if chance.happens(lit_share) else shaded((52, 60, 70), weather, s)
        faces.append(Face(along(near, s + 0.6, end - 0.6, low, low + 1.5), color))
    for pier in range(1, int(length / 4.0)):
        at = s + pier * 4.0
        faces.append(Face(along(near, at - 0.5, at + 0.5, 0.4, height - 0.3), shaded(wall, weather, s, 0.95)))
    # The distance of the far end: a car beside a long house is nearer than most of the house.
    return Thing(s + length, faces)


def _trees(chance: Chance, side: float, edge: float, weather: Weather) -> list[Thing]:
    things, s = [], chance.uniform(4.0, 20.0)
    spacing = chance.uniform(5.0, 14.0)
    while s < 100.0:
        t = side * (edge + chance.uniform(0.0, 4.0))
        things.append(_tree(chance, s, t, weather))
        s += spacing * chance.uniform(0.7, 1.5)
    return things


def _tree(chance: Chance, s: float, t: float, weather: Weather) -> Thing:
    radius, trunk = chance.uniform(1.4, 3.0), chance.uniform(1.8, 3.2)
    shade = chance.uniform(0.75, 1.15)
    leaf = (62.0 * shade, 88.0 * shade, 44.0 * shade)
    bark = shaded((70, 58, 48), weather, s)
    faces = [Face(across(s, t - 0.15, t + 0.15, -0.3, trunk + 0.5), bark)]
    for grow, factor, lift in ((1.0, 0.8, 0.0), (0.68, 1.1, 0.35)):
        crown: list[Corner] = []
        for corner in range(11):
            angle = corner * 2 * math.pi / 11
            reach = grow * radius * chance.uniform(0.82, 1.12)
            crown.append((s, t + reach * math.cos(angle), trunk + radius * (1 + lift) + 1.1 * reach * math.sin(angle)))
        faces.append(Face(crown, shaded(leaf, weather, s, factor)))
    return Thing(s, faces)


def _lamp_posts(chance: Chance, side: float, edge: float, weather: Weather) -> list[Thing]:
    things, s = [], chance.uniform(6.0, 30.0)
    metal = (120, 122, 124)
    lamp = (255, 225, 160) if weather.kind in ("night", "dusk") else (200, 200, 200)
    t = side * edge
    while s < 100.0:
        color = shaded(metal, weather, s, 0.8)
        reach = t - side * 2.2
        arm = [(s, t, 7.6), (s, reach, 7.9), (s, reach, 8.05), (s, t, 7.9)]
        head = across(s, min(reach, reach + side * 0.8), max(reach, reach + side * 0.8), 7.8, 7.95)
        things.append(
            Thing(s, [Face(across(s, t - 0.08, t + 0.08, 0, 7.8), color), Face(arm, color), Face(head, lamp)])
        )
        s += chance.uniform(24.0, 32.0)
    return things


def _rail(t: float, weather: Weather) -> list[Thing]:
    """A guard rail of steel, in straight pieces that follow the road's bend."""
    stations = (2.5, 5.0, 8.0, 12.0, 17.0, 23.0, 30.0, 40.0, 52.0, 66.0, 82.0, FARTHEST)
    things = []
    for start, end in pairwise(stations):
        post = Face(across(start, t - 0.06, t + 0.06, 0.0, 0.7), shaded((110, 112, 115), weather, start))
        band = Face(along(t, start, end, 0.42, 0.75), shaded((150, 152, 155), weather, start))
        things.append(Thing(end, [post, band]))
    return things
