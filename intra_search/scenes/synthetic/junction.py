"""Markings across the road, at junctions and crossings."""

from typing import NamedTuple

import numpy as np

from intra_search.scenes.synthetic.arrows import arrow, lane_arrows
from intra_search.scenes.synthetic.chance import Chance
from intra_search.scenes.synthetic.lane_lines import Span
from intra_search.scenes.synthetic.marking import WHITE, YELLOW, Marking, bars, crossbar, polygon
from intra_search.scenes.synthetic.road import FARTHEST, NEAREST, Points, Road

DOUBLE_DASHED_STOP, STOP, DOUBLE_STOP, ZEBRA, DIAMOND = 11, 12, 13, 18, 32


class Junction(NamedTuple):
    """Distances along the road in metres: the stop line, the near crossing, and where lines begin again after it."""

    stop: float
    zebra: float
    zebra_length: float
    end: float
    is_crossroad: bool
    """False: only a pedestrian crossing, no side street."""


def sample_junction(chance: Chance) -> Junction | None:
    if not chance.happens(0.5):
        return None
    stop = chance.uniform(6.0, 26.0)
    zebra = stop + chance.uniform(1.2, 3.0)
    length = chance.uniform(3.0, 5.0)
    is_crossroad = chance.happens(0.78)
    depth = chance.uniform(14.0, 26.0) if is_crossroad else chance.uniform(1.2, 3.0)
    return Junction(stop, zebra, length, zebra + length + depth, is_crossroad)


def side_street(junction: Junction | None) -> Span | None:
    """The part of the road that a side street crosses; None without one."""
    if junction is None or not junction.is_crossroad:
        return None
    return junction.zebra + junction.zebra_length, junction.end


def line_spans(junction: Junction | None) -> list[Span]:
    """The parts of the road where lines along it are painted."""
    if junction is None:
        return [(NEAREST, FARTHEST)]
    far = junction.end + (junction.zebra_length + 2.0 if junction.is_crossroad else 0.0)
    return [(NEAREST, junction.stop), (far, FARTHEST)]


def sample_junction_markings(chance: Chance, road: Road, junction: Junction) -> list[Marking]:
    """Stop line, crossings, arrows, and diamonds that announce a crossing."""
    paint = YELLOW if chance.happens(0.12) else WHITE
    markings = _stop_line(chance, road, junction.stop)
    if not junction.is_crossroad or chance.happens(0.75):
        markings.append(_zebra(road, junction.zebra, junction.zebra_length, paint))
    if junction.is_crossroad:
        markings.append(_zebra(road, junction.end, junction.zebra_length, paint))
        markings += _arrow_rows(chance, road, junction.stop)
    elif chance.happens(0.6):
        markings += _diamonds(chance, road, junction.stop)
    if road.num_left and not junction.is_crossroad:
        width = 0.3
        start = junction.end
        markings.append(Marking(STOP, WHITE, crossbar(start, start + width, road.left + 0.1, -road.median - 0.1)))
    return markings


def _stop_line(chance: Chance, road: Road, station: float) -> list[Marking]:
    label = chance.choice((STOP,) * 8 + (DOUBLE_STOP, DOUBLE_DASHED_STOP))
    width = chance.uniform(0.3, 0.45)
    if label == STOP:
        return [Marking(STOP, WHITE, crossbar(station - width, station, 0.1, road.right - 0.1))]
    starts = (station - 0.2, station - 0.65)
    if label == DOUBLE_STOP:
        return [Marking(label, WHITE, crossbar(start, start + 0.22, 0.1, road.right - 0.1)) for start in starts]
    across = np.arange(0.4, road.right - 0.3, 1.0)
    return [Marking(label, WHITE, bars(np.full(len(across), start), across, 0.22, 0.55)) for start in starts]


def _zebra(road: Road, start: float, length: float, paint: int) -> Marking:
    across = np.arange(road.left + 0.3, road.right - 0.1, 1.05)
    return Marking(ZEBRA, paint, bars(np.full(len(across), start + length / 2), across, length, 0.45))


def _arrow_rows(chance: Chance, road: Road, stop: float) -> list[Marking]:
    labels = [chance.choice(lane_arrows(lane, road.num_right)) for lane in range(road.num_right)]
    length = chance.uniform(4.5, 6.0)
    first = stop - chance.uniform(1.5, 4.0) - length
    spacing = chance.uniform(14.0, 22.0)
    markings: list[Marking] = []
    for station in (first, first - spacing):
        if station > NEAREST:
            for lane, label in enumerate(labels):
                markings += arrow(label, station, road.lane_center(lane), length)
    return markings


def _diamonds(chance: Chance, road: Road, stop: float) -> list[Marking]:
    first = stop - chance.uniform(6.0, 9.0)
    markings: list[Marking] = []
    for station in (first, first - 12.0):
        if station > NEAREST:
            markings += [
                Marking(DIAMOND, WHITE, part)
                for lane in range(road.num_right)
                for part in _diamond(station, road.lane_center(lane))
            ]
    return markings


def _diamond(station: float, center: float) -> list[Points]:
    """The left and right half of an outline, 2.5 m long and 1.5 m wide."""
    right = ((0, 0), (1.25, 0.75), (2.5, 0), (2.0, 0), (1.25, 0.5), (0.5, 0))
    return [polygon([(along, side * across) for along, across in right], station, center) for side in (-1, 1)]
