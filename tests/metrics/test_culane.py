"""CULane's counts against the official tool's (tests/golden/culane_f1.json), frame by frame, and hand values."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from intra_search.metrics.culane import LaneCounts, LaneRule, at_official_size, count_frame, total_counts

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "culane_f1.json").read_text())
FRAMES: dict[str, Any] = GOLDEN["frames"]


def _lanes(lists: list[list[list[float]]] | None) -> list[np.ndarray]:
    return [np.array(points).reshape(-1, 2) for points in lists or []]


def _counts(rule: LaneRule) -> dict[str, LaneCounts]:
    return {name: count_frame(_lanes(frame["gt"]), _lanes(frame["pred"]), rule) for name, frame in FRAMES.items()}


def test_every_frame_equals_the_official_tool() -> None:
    found = _counts(LaneRule())
    assert len(found) == 150
    assert {name: list(counts) for name, counts in found.items()} == {
        name: frame["official"] for name, frame in FRAMES.items()
    }


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("width30_iou0.5", LaneRule()),
        ("width30_iou0.3", LaneRule(iou=0.3)),
        ("width16_iou0.5", LaneRule(brush=16)),
    ],
)
def test_totals_equal_the_official_tool(key: str, rule: LaneRule) -> None:
    official = GOLDEN["total"][key]
    total = total_counts(_counts(rule).values())
    assert total._asdict() == {name: official[name] for name in ("tp", "fp", "fn")}
    for name in ("precision", "recall", "f1"):
        assert f"{getattr(total, name):.6g}" == official[name]


def test_frames_of_other_sizes_are_counted_at_the_official_one() -> None:
    """Two lanes 40 pixels apart at full size: no match, though a 30 pixel brush on a frame of a fifth would say so."""
    truth, found = (np.array([[x, 590.0], [x, 250.0]]) for x in (400.0, 440.0))
    small_truth, small_found = [truth / 5], [found / 5]
    assert count_frame(small_truth, small_found, LaneRule(size=(328, 118))).tp == 1
    large_truth, large_found = (at_official_size(lanes, (328, 118)) for lanes in (small_truth, small_found))
    assert count_frame(large_truth, large_found) == LaneCounts(fp=1, fn=1)
    assert (at_official_size([truth / 7], (1640, 590))[0] == truth / 7).all()
