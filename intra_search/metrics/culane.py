"""CULane's F1: lanes are drawn as broad strokes and matched by IoU. Counts may be summed over frames and workers.

Every frame has the same counts as in the data set's own C++ tool (tools/lane_evaluation of the SCNN repository).
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from intra_search.metrics.lane_matching import match_lanes
from intra_search.metrics.lane_strokes import Points, draw_stroke, stroke_iou

SCENARIOS = {
    "normal": "test0_normal.txt",
    "crowd": "test1_crowd.txt",
    "hlight": "test2_hlight.txt",
    "shadow": "test3_shadow.txt",
    "noline": "test4_noline.txt",
    "arrow": "test5_arrow.txt",
    "curve": "test6_curve.txt",
    "cross": "test7_cross.txt",
    "night": "test8_night.txt",
}
"""The nine lists in list/test_split/. `cross` has no true lanes: for it, false positives are reported."""


OFFICIAL_SIZE = (1640, 590)
"""Width and height of CULane's frames in pixels."""


class LaneRule(NamedTuple):
    """When a predicted lane is right."""

    brush: int = 30
    """Width of a drawn lane in pixels."""
    iou: float = 0.5
    """A matched pair is right when its IoU is greater (not equal)."""
    size: tuple[int, int] = OFFICIAL_SIZE
    """Width and height of the canvas in pixels."""


class LaneCounts(NamedTuple):
    """Right, wrong and missed lanes; `merged` adds the counts of frames or workers."""

    tp: int = 0
    fp: int = 0
    fn: int = 0

    def merged(self, other: "LaneCounts") -> "LaneCounts":
        return LaneCounts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def precision(self) -> float:
        """Share of the predicted lanes that are right; 0 when none is predicted."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else 0.0

    @property
    def recall(self) -> float:
        """Share of the true lanes that are found; 0 when there is none."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else 0.0

    @property
    def f1(self) -> float:
        """2 P R / (P + R); 0 when nothing is right."""
        return 2 * self.precision * self.recall / (self.precision + self.recall) if self.tp else 0.0


def at_official_size(lanes: Sequence[Points], size: tuple[int, int]) -> list[Points]:
    """Lanes of a frame of another width and height, scaled to the official size, so that brush and threshold mean the
    same as on the benchmark. Lanes in frames of the official size do not change."""
    scale = np.array([official / own for official, own in zip(OFFICIAL_SIZE, size, strict=True)])
    return [lane * scale for lane in lanes]


def total_counts(parts: Iterable[LaneCounts]) -> LaneCounts:
    """Sum over frames, scenarios or workers."""
    total = LaneCounts()
    for part in parts:
        total = total.merged(part)
    return total


def count_frame(truth: Sequence[Points], predicted: Sequence[Points], rule: LaneRule | None = None) -> LaneCounts:
    """Counts of one frame. Lanes are points (N, 2) as x, y in pixels of the canvas.

    Lanes of fewer than two points match nothing, but count as predicted or true.
    """
    rule = rule or LaneRule()
    if not truth or not predicted:
        return LaneCounts(0, len(predicted), len(truth))
    true_strokes = [draw_stroke(lane, rule.brush, rule.size) for lane in truth]
    guessed_strokes = [draw_stroke(lane, rule.brush, rule.size) for lane in predicted]
    similarity = [[stroke_iou(lane, guess) for guess in guessed_strokes] for lane in true_strokes]
    right = sum(similarity[row][column] > rule.iou for row, column in match_lanes(similarity))
    return LaneCounts(right, len(predicted) - right, len(truth) - right)
