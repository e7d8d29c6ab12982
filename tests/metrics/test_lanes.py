"""Decoding of probability maps: hand values of the protocol, round trips of drawn lanes, and the real sample."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from intra_search.errors import SceneError
from intra_search.metrics.culane import LaneCounts, count_frame, total_counts
from intra_search.metrics.lanes import LaneDecoding, decode_lanes
from intra_search.scenes.lane_files import lanes_name, read_frame_list, read_lanes

CROPPED = LaneDecoding(crop_top=240)


def _column_map(column: int, height: int = 208, width: int = 976, value: float = 0.9) -> np.ndarray:
    """Background and one lane that peaks in one column of every row."""
    maps = np.zeros((2, height, width), np.float32)
    distance = np.abs(np.arange(width) - column)
    maps[1] = value * np.clip(1 - distance / 40, 0, 1)
    maps[0] = 1 - maps[1]
    return maps


def test_hand_value_of_the_cropped_protocol() -> None:
    (lane,) = decode_lanes(_column_map(487), rule=CROPPED)
    assert lane[0].tolist() == [819, 589]  # round(488 * 1640 / 976) - 1, 590 - 1
    assert lane[:, 1].tolist() == [589 - 20 * step for step in range(18)]
    assert set(lane[:, 0].tolist()) == {819}


@pytest.mark.parametrize(
    ("rule", "height", "rows"),
    [(CROPPED, 208, [207, 195, 183]), (LaneDecoding(), 288, [287, 277, 267]), (CROPPED, 350, [349, 329, 309])],
)
def test_rows_of_the_map(rule: LaneDecoding, height: int, rows: list[int]) -> None:
    maps = np.zeros((2, height, 976), np.float32)
    maps[1, rows, 100] = 1
    assert len(decode_lanes(maps, rule=rule._replace(blur=1))[0]) == 3
    maps[1, rows[1]] = 0
    (lane,) = decode_lanes(maps, rule=rule._replace(blur=1))
    assert lane[:, 1].tolist() == [589, 549]


def test_threshold_is_strict_and_comes_after_the_blur() -> None:
    rule = LaneDecoding(blur=1, threshold=0.25)
    maps = np.full((2, 59, 164), 0.25, np.float32)
    assert decode_lanes(maps, rule=rule) == []
    assert len(decode_lanes(maps, rule=rule._replace(threshold=0.2499))) == 1
    spike = np.zeros((2, 59, 164), np.float32)
    spike[1, :, 50] = 1  # one column of nine: 0.11 after the blur
    assert decode_lanes(spike) == []
    assert len(decode_lanes(spike, rule=rule)) == 1


def test_existence_and_short_lanes() -> None:
    maps = np.concatenate([_column_map(300), _column_map(600)[1:]])
    assert len(decode_lanes(maps, rule=CROPPED)) == 2
    (lane,) = decode_lanes(maps, np.array([0.5, 0.51]), CROPPED)
    assert lane[0, 0] == round(601 * 1640 / 976) - 1
    maps[1, :-1] = 0  # the first lane keeps its lowest row alone
    assert len(decode_lanes(maps, rule=CROPPED._replace(blur=1))) == 1


@pytest.mark.parametrize(("size", "cut"), [((328, 118), 0), ((328, 118), 48), ((820, 295), 0)])
def test_rows_of_reduced_frames_are_those_of_official_ones(size: tuple[int, int], cut: int) -> None:
    scale = size[1] / 590
    whole = LaneDecoding(crop_top=round(cut / scale))
    (lane,) = decode_lanes(_column_map(487), rule=LaneDecoding(image_size=size, crop_top=cut))
    (official,) = decode_lanes(_column_map(487), rule=whole)
    assert len(lane) == len(official)
    np.testing.assert_allclose(lane[:, 1] + 1, (official[:, 1] + 1) * scale)


def test_existence_must_fit() -> None:
    with pytest.raises(SceneError, match="each of 1 lanes, found 4"):
        decode_lanes(_column_map(3), np.ones(4))


@pytest.mark.parametrize(("crop_top", "size"), [(240, (976, 208)), (0, (800, 288))])
def test_drawn_lanes_come_back(crop_top: int, size: tuple[int, int]) -> None:
    truth = [np.array([[200.0, 589.0], [700.0, 250.0]]), np.array([[1100.0, 589.0], [850.0, 250.0]])]
    maps = np.zeros((3, size[1], size[0]), np.float32)
    for index, lane in enumerate(truth, start=1):
        canvas = np.zeros((590, 1640), np.float32)
        start, end = lane.astype(int).tolist()
        cv2.line(canvas, start, end, 1.0, 30)
        maps[index] = cv2.resize(canvas[crop_top:], size, interpolation=cv2.INTER_AREA)
    assert count_frame(truth, decode_lanes(maps, rule=LaneDecoding(crop_top=crop_top))) == LaneCounts(tp=2)


@pytest.mark.real
def test_real_masks_decode_to_their_lanes() -> None:
    root = Path(os.environ.get("INTRA_SEARCH_REAL_DATA", "")) / "culane60"
    if not os.environ.get("INTRA_SEARCH_REAL_DATA") or not root.is_dir():
        pytest.skip(f"no data at {root}")
    counts = []
    for name in read_frame_list(root / "list" / "train_gt.txt"):
        mask = cv2.imread(str(root / "laneseg_label_w16" / Path(name).with_suffix(".png")), cv2.IMREAD_UNCHANGED)
        assert mask is not None
        small = cv2.resize(mask[240:], (976, 208), interpolation=cv2.INTER_NEAREST)
        maps = np.stack([small == index for index in range(5)]).astype(np.float32)
        counts.append(count_frame(read_lanes(root / lanes_name(name)), decode_lanes(maps, rule=CROPPED)))
    assert total_counts(counts).f1 > 0.95
