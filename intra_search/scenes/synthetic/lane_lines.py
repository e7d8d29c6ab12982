"""Lines along the road: between directions, between lanes, at the edges."""

from typing import NamedTuple

from intra_search.scenes.synthetic.chance import Chance
from intra_search.scenes.synthetic.marking import WHITE, YELLOW, Marking, dashes, strip
from intra_search.scenes.synthetic.road import Points, Road

Span = tuple[float, float]
"""Distances along the road where lines start and end."""

SOLID_WHITE, SOLID_YELLOW, DOUBLE_WHITE, DOUBLE_YELLOW, SOLID_DASHED = 1, 2, 3, 4, 5
DASHED_WHITE, DASHED_YELLOW, DOUBLE_DASHED_WHITE, DOUBLE_DASHED_YELLOW = 7, 8, 9, 10
NO_LINE = 0

_SPACING = 0.16
"""Metres between the two strokes of a double line."""
_YELLOWS = (SOLID_YELLOW, DOUBLE_YELLOW, DASHED_YELLOW, DOUBLE_DASHED_YELLOW)
_DIVIDERS = (SOLID_YELLOW,) * 6 + (DOUBLE_YELLOW,) * 8 + (DASHED_YELLOW,) * 4 + (DOUBLE_DASHED_YELLOW,) * 4
_LANE_LINES = (DASHED_WHITE,) * 12 + (SOLID_DASHED,) * 3 + (DOUBLE_WHITE,) * 2 + (DOUBLE_DASHED_WHITE,) * 3
_EDGES = (SOLID_WHITE,) * 6 + (SOLID_YELLOW,) + (NO_LINE,) * 2


class LineStyle(NamedTuple):
    """Lengths in metres, the same for all lines of a scene."""

    width: float
    dash: float
    gap: float
    phase: float
    """How far the dashes are moved, as a share of their period."""


def sample_style(chance: Chance) -> LineStyle:
    dash, gap = chance.choice(((3.0, 4.5), (4.0, 6.0), (6.0, 9.0), (4.0, 4.0)))
    return LineStyle(chance.choice((0.12, 0.15, 0.15, 0.2)), dash, gap, chance.share())


def line(label: int, span: Span, center: float, style: LineStyle) -> list[Marking]:
    """A line of class `label` (`NO_LINE`: no line) along the road at t = `center`."""
    paint = YELLOW if label in _YELLOWS else WHITE
    offset = _SPACING / 2 + style.width / 2
    if label in (SOLID_WHITE, SOLID_YELLOW):
        return [Marking(label, paint, _solid(span, center, style))]
    if label in (DASHED_WHITE, DASHED_YELLOW):
        return [Marking(label, paint, _dashed(span, center, style))]
    if label in (DOUBLE_WHITE, DOUBLE_YELLOW):
        return [Marking(label, paint, _solid(span, center + side, style)) for side in (-offset, offset)]
    if label in (DOUBLE_DASHED_WHITE, DOUBLE_DASHED_YELLOW):
        return [Marking(label, paint, _dashed(span, center + side, style)) for side in (-offset, offset)]
    if label == SOLID_DASHED:
        solid, dashed = _solid(span, center - offset, style), _dashed(span, center + offset, style)
        return [Marking(label, paint, solid), Marking(label, paint, dashed)]
    return []


def sample_lines(chance: Chance, road: Road, style: LineStyle, spans: list[Span], solid_before: float) -> list[Marking]:
    """All lines along a road, except in its junction. Lane lines are solid on the last metres before the junction: in
    the first span, from `solid_before` on."""
    divider = chance.choice(_DIVIDERS)
    lane_lines = [chance.choice(_LANE_LINES) for _ in range(3)]
    left_edge, right_edge = chance.choice(_EDGES), chance.choice(_EDGES)
    markings: list[Marking] = []
    for span in spans:
        if road.num_left:
            sides = (0.0, -road.median) if road.median else (0.0,)
            for side in sides:
                markings += line(SOLID_YELLOW if road.median else divider, span, side, style)
        else:
            markings += line(SOLID_YELLOW if left_edge == NO_LINE else left_edge, span, 0.0, style)
        edges = [(right_edge, road.right)] + ([(left_edge, road.left)] if road.num_left else [])
        for label, center in edges:
            markings += line(label, span, center, style)
        markings += _lane_lines(road, style, span, lane_lines, solid_before)
    return markings


def _lane_lines(road: Road, style: LineStyle, span: Span, labels: list[int], solid_before: float) -> list[Marking]:
    markings: list[Marking] = []
    start, end = span
    change = min(max(solid_before, start), end) if solid_before < end else end
    for lane in range(1, road.num_right):
        center = lane * road.lane_width
        markings += line(labels[lane - 1], (start, change), center, style)
        markings += line(SOLID_WHITE, (change, end), center, style)
    for lane in range(1, road.num_left):
        markings += line(DASHED_WHITE, span, -road.median - lane * road.lane_width, style)
    return markings


def _solid(span: Span, center: float, style: LineStyle) -> Points:
    return strip(*span, center - style.width / 2, center + style.width / 2)


def _dashed(span: Span, center: float, style: LineStyle) -> Points:
    return dashes(*span, center, style.width, length=style.dash, gap=style.gap, phase=style.phase)
