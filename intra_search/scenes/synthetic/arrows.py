"""Turn arrows on a lane. Corners are (along, across) in metres, for an arrow 6 m long that starts at 0 in the middle of
its lane. Every arrow consists of parts, painted one over the other."""

from intra_search.scenes.synthetic.marking import WHITE, Marking, polygon

U_TURN, THROUGH, THROUGH_LEFT, THROUGH_RIGHT, THROUGH_BOTH = 19, 20, 21, 22, 23
LEFT, RIGHT, LEFT_RIGHT, THROUGH_U = 24, 25, 26, 28

Part = tuple[tuple[float, float], ...]

_SHAFT: Part = ((0, -0.12), (0, 0.12), (3.8, 0.12), (3.8, -0.12))
_TIP: Part = ((3.6, -0.45), (3.6, 0.45), (6, 0))
_TURN_RIGHT: tuple[Part, ...] = (
    ((0, -0.12), (0, 0.12), (2.9, 0.12), (3.7, 0.55), (4.3, 0.55), (3.4, -0.12)),
    ((2.9, 0.5), (5.1, 0.5), (4.0, 1.25)),
)
_BRANCH_RIGHT: tuple[Part, ...] = (
    ((1.2, 0.1), (1.9, 0.1), (2.75, 0.55), (2.25, 0.55)),
    ((1.5, 0.5), (3.5, 0.5), (2.5, 1.15)),
)
_U_TURN_LEFT: tuple[Part, ...] = (
    ((0, 0.3), (0, 0.55), (4.6, 0.55), (4.6, 0.3)),
    ((4.5, 0.55), (5.3, 0.2), (5.3, -0.4), (4.5, -0.75), (4.2, -0.5), (4.6, -0.25), (4.6, 0.1), (4.2, 0.3)),
    ((4.6, -0.5), (4.6, -0.75), (2.6, -0.75), (2.6, -0.5)),
    ((2.8, -0.25), (2.8, -1.0), (0.8, -0.625)),
)


def _mirrored(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    return tuple(tuple((along, -across) for along, across in part) for part in parts)


PARTS: dict[int, tuple[Part, ...]] = {
    U_TURN: _U_TURN_LEFT,
    THROUGH: (_SHAFT, _TIP),
    THROUGH_LEFT: (_SHAFT, _TIP, *_mirrored(_BRANCH_RIGHT)),
    THROUGH_RIGHT: (_SHAFT, _TIP, *_BRANCH_RIGHT),
    THROUGH_BOTH: (_SHAFT, _TIP, *_BRANCH_RIGHT, *_mirrored(_BRANCH_RIGHT)),
    LEFT: _mirrored(_TURN_RIGHT),
    RIGHT: _TURN_RIGHT,
    LEFT_RIGHT: (*_TURN_RIGHT, *_mirrored(_TURN_RIGHT)),
    THROUGH_U: (
        _SHAFT,
        _TIP,
        ((0.6, -0.1), (1.2, -0.1), (1.6, -0.8), (1.0, -0.8)),
        ((1.3, -0.55), (1.3, -1.05), (-0.4, -0.8)),
    ),
}


def arrow(label: int, station: float, center: float, length: float) -> list[Marking]:
    """An arrow of `length` metres that starts at `station`, in the lane whose middle is `center`."""
    return [Marking(label, WHITE, polygon(part, station, center, length / 6)) for part in PARTS[label]]


def lane_arrows(lane: int, num_lanes: int) -> tuple[int, ...]:
    """Arrows that lane 0 … num_lanes - 1, from the left, may carry before a junction."""
    if num_lanes == 1:
        return (THROUGH_BOTH, THROUGH_LEFT, THROUGH_RIGHT, LEFT_RIGHT, THROUGH, THROUGH, LEFT, RIGHT)
    if lane == 0:
        return (LEFT, LEFT, LEFT, THROUGH_LEFT, THROUGH_LEFT, U_TURN, U_TURN, THROUGH_U)
    if lane == num_lanes - 1:
        return (RIGHT, RIGHT, THROUGH_RIGHT, THROUGH_RIGHT, THROUGH)
    return (THROUGH, THROUGH, THROUGH, THROUGH_LEFT, LEFT)
