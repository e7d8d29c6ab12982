"""What `score` refuses in one line, before it costs time."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from intra_search.errors import SceneError
from intra_search.metrics.culane import LaneCounts, count_frame
from intra_search.metrics.score import score_apolloscape, score_llamas
from intra_search.scenes.lane_files import FARTHEST, read_lanes
from intra_search.scenes.writers.files import write_mask


def test_a_label_with_a_marker_beside_the_cameras_plane(tmp_path: Path) -> None:
    """Ten such markers took half a minute to draw."""
    end = {"x": 0.0, "y": 1.5, "z": -1e-6}
    markers = [{"world_start": end, "world_end": {**end, "z": 8.0}, "pixel_start": {"x": 1, "y": y}} for y in (1, 99)]
    matrix = [[1000, 0, 638], [0, 1000, 350], [0, 0, 1]]
    label = {"projection_matrix": matrix, "lanes": [{"lane_id": "l0", "markers": markers}]}
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.json").write_text(json.dumps(label))
    for key in range(5):
        write_mask(tmp_path / "found" / f"a.json_{key}.png", np.zeros((717, 1276), np.uint8))
    with pytest.raises(SceneError, match=r"a\.json: markers must lie within 100,000 pixels"):
        score_llamas(tmp_path / "labels", tmp_path / "found")


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.png")).touch()
    with pytest.raises(SceneError, match="names must be UTF-8"):
        score_apolloscape(tmp_path, tmp_path)


def test_the_farthest_points_are_counted_without_overflow(tmp_path: Path) -> None:
    far = f"{FARTHEST}"
    (tmp_path / "a.lines.txt").write_text(f"{far} -{far} 1e-40 1e-40 -{far} {far} 5 500\n1e-45 0 2e-45 0 {far} {far}\n")
    lanes = read_lanes(tmp_path / "a.lines.txt")
    assert count_frame(lanes, lanes) == LaneCounts(tp=2)


def test_a_folder_whose_name_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="must be the folder of labels, found nothing there"):
        score_apolloscape(tmp_path / ("a" * 300), tmp_path)
