"""Painted areas: hatching, parking bays, no-parking grids, speed reduction blocks."""

from itertools import pairwise

import numpy as np

from intra_search.scenes.synthetic.chance import Chance
from intra_search.scenes.synthetic.lane_lines import Span
from intra_search.scenes.synthetic.marking import WHITE, YELLOW, Marking, bars, crossbar, slanted, strip, wedge
from intra_search.scenes.synthetic.road import FARTHEST, NEAREST, Points, Road

CHEVRON_WHITE, CHEVRON_YELLOW, PARKING, REDUCTION, NO_PARKING = 14, 15, 16, 31, 33


def sample_median(chance: Chance, road: Road, spans: list[Span]) -> list[Marking]:
    """Yellow hatching of the island between the directions."""
    if not road.median:
        return []
    period, width = chance.uniform(2.5, 4.0), chance.uniform(0.4, 0.7)
    inset = 0.25
    stripes = [
        slanted(np.arange(start, min(end, 70.0) - 3.0, period), -road.median + inset, -inset, slope=0.8, width=width)
        for start, end in spans
    ]
    return [Marking(CHEVRON_YELLOW, YELLOW, part) for part in stripes]


def sample_area(chance: Chance, road: Road, end: float) -> list[Marking]:
    """At most one painted area before the junction at `end`."""
    kind = chance.share()
    if kind < 0.14:
        return _gore(chance, road, end)
    if kind < 0.28:
        return _parking(chance, road, end)
    if kind < 0.42:
        return _no_parking(chance, road, end)
    return _reduction(chance, road, end) if kind < 0.53 else []


def _gore(chance: Chance, road: Road, end: float) -> list[Marking]:
    """Hatching that closes the left or right side of the own direction: a wedge with a solid outline and chevrons."""
    start = chance.uniform(3.0, 12.0)
    length = min(chance.uniform(18.0, 35.0), end - start - 1.0)
    if length < 8.0:
        return []
    width = chance.uniform(1.8, 3.0)
    edge, side = (road.right - 0.1, -1.0) if chance.happens(0.6) else (0.2, 1.0)
    period, stroke = chance.uniform(2.2, 3.2), chance.uniform(0.45, 0.7)
    label, paint = (CHEVRON_WHITE, WHITE) if chance.happens(0.8) else (CHEVRON_YELLOW, YELLOW)
    inner = edge + side * width
    outline = wedge(start, start + length, (edge, inner), (edge + side * 0.15, inner + side * 0.15))
    starts = np.arange(start + 2.0, start + length - 1.0, period)
    return [
        Marking(2 if paint == YELLOW else 1, paint, outline),
        Marking(label, paint, _hatch(starts, start, length, edge, inner, stroke)),
    ]


def _hatch(starts: Points, start: float, length: float, edge: float, inner: float, stroke: float) -> Points:
    """(P, 4, 2) stripes from the edge to the wedge's outline."""
    slope = 0.8
    # The stripe starts at the edge, at s, and ends where it meets the outline, which moves inwards with s.
    growth = abs(inner - edge) / length
    direction = np.sign(inner - edge)
    corners = np.empty((len(starts), 4, 2))
    for place, begin in ((0, starts), (1, starts + stroke)):
        reach = growth * (begin - start) / (1 + slope * growth)
        corners[:, 3 * place, 0], corners[:, 3 * place, 1] = begin, edge
        corners[:, 1 + place, 0], corners[:, 1 + place, 1] = begin - slope * reach, edge + direction * reach
    return corners


def _parking(chance: Chance, road: Road, end: float) -> list[Marking]:
    """Bays along the right edge."""
    start, width, depth, bay = chance.uniform(NEAREST, 8.0), 0.12, 2.2, chance.uniform(5.5, 6.5)
    num = int(min(chance.integer(3, 8), (end - start) // bay))
    if num < 1:
        return []
    inner = road.right - depth if road.margin < depth else road.right + 0.15
    stop = start + num * bay
    lines = [strip(start, stop, inner, inner + width), strip(start, stop, inner + depth, inner + depth + width)]
    rungs: Points = start + bay * np.arange(num + 1, dtype=np.float64)
    lines.append(bars(rungs, np.full(num + 1, inner + width / 2 + depth / 2), width, depth - width))
    return [Marking(PARKING, WHITE, part) for part in lines]


def _no_parking(chance: Chance, road: Road, end: float) -> list[Marking]:
    """The grid before an exit that must be kept clear."""
    start = chance.uniform(4.0, 11.0)
    length, width = chance.uniform(5.0, 8.0), 0.2
    left, right = (0.3 if chance.happens(0.5) else road.right - road.lane_width), road.right - 0.3
    paint = YELLOW if chance.happens(0.8) else WHITE
    stop = start + length
    if stop > end:
        return []
    parts = [crossbar(start, start + width, left, right), crossbar(stop - width, stop, left, right)]
    parts += [strip(start + width, stop - width, side, side + width) for side in (left, right - width)]
    parts += _diagonals(start, stop, left, right, width)
    return [Marking(NO_PARKING, paint, part) for part in parts]


def _diagonals(start: float, stop: float, left: float, right: float, width: float) -> list[Points]:
    """A cross in every cell, about 3 m wide."""
    num = max(1, round((right - left) / 3.0))
    edges = np.linspace(left, right, num + 1).tolist()
    parts = []
    for near, far in pairwise(edges):
        slope = (stop - start - 2 * width) / (far - near)
        parts.append(slanted(np.array([start]), near, far, slope=slope, width=2 * width))
        parts.append(slanted(np.array([stop - 2 * width]), near, far, slope=-slope, width=2 * width))
    return parts


def _reduction(chance: Chance, road: Road, end: float) -> list[Marking]:
    """Blocks along both sides of every own lane (fishbone), or rows of bars across."""
    start, stop = chance.uniform(NEAREST, 8.0), min(end - 2.0, chance.uniform(35.0, 60.0))
    if stop - start < 6.0:
        return []
    if chance.happens(0.5):
        starts = np.arange(start, stop, 2.0)
        lanes = range(road.num_right)
        sides = [
            _blocks(starts, side * road.lane_width, 1.0 if lane == side else -1.0)
            for lane in lanes
            for side in (lane, lane + 1)
        ]
        return [Marking(REDUCTION, WHITE, part) for part in sides]
    stations = np.arange(start, stop, 6.0)
    rows = np.concatenate([stations, stations + 0.9])
    across = np.arange(0.6, road.right - 0.4, 0.75)
    grid = np.stack(np.meshgrid(rows, across), axis=-1).reshape(-1, 2)
    return [Marking(REDUCTION, WHITE, bars(grid[:, 0], grid[:, 1], 0.45, 0.5))]


def _blocks(starts: Points, line: float, direction: float) -> Points:
    """(P, 4, 2) parallelograms beside a lane line, on the side of `direction`."""
    near, far = line + direction * 0.2, line + direction * 0.55
    left, right = min(near, far), max(near, far)
    return slanted(starts[(starts >= NEAREST) & (starts < FARTHEST)], left, right, slope=0.5 * direction, width=1.0)
