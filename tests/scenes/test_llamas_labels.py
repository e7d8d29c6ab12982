"""LLAMAS masks against the official scripts' (tests/golden/llamas), pixel for pixel, and the clean-up of lanes."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from intra_search.errors import SceneError
from intra_search.scenes.llamas_labels import binary_mask, class_mask, read_label

GOLDEN = Path(__file__).parents[1] / "golden" / "llamas"
NAMES = sorted(path.stem for path in GOLDEN.glob("1*.json"))


def _marker(row: float, x: float = 0.0, z: float = 5.0) -> dict[str, Any]:
    return {
        "lane_marker_id": "0",
        "world_start": {"x": x, "y": 1.5, "z": z},
        "world_end": {"x": x, "y": 1.5, "z": z + 3},
        "pixel_start": {"x": 10, "y": row},
        "pixel_end": {"x": 10, "y": row - 5},
    }


def _write(path: Path, lanes: dict[str, list[dict[str, Any]]], /, **changes: Any) -> Path:
    content = {
        "image_name": path.stem,
        "projection_matrix": [[1000, 0, 638], [0, 1000, 350], [0, 0, 1]],
        "lanes": [{"lane_id": name, "markers": markers} for name, markers in lanes.items()],
    }
    path.write_text(json.dumps(content | changes))
    return path


@pytest.mark.parametrize("name", NAMES)
def test_masks_equal_the_official_scripts(name: str) -> None:
    label = read_label(GOLDEN / f"{name}.json")
    np.testing.assert_array_equal(class_mask(label), cv2.imread(str(GOLDEN / f"{name}.label.png"), -1))
    np.testing.assert_array_equal(binary_mask(label), cv2.imread(str(GOLDEN / f"{name}.binary.png"), -1))


def test_short_lanes_are_dropped_and_the_rest_renumbered(tmp_path: Path) -> None:
    tall, flat = [_marker(600), _marker(580)], [_marker(600), _marker(581)]
    lanes = {"l3": tall, "r2": tall, "l2": flat, "l0": tall, "r1": tall[:1], "r0": flat, "l1": []}
    label = read_label(_write(tmp_path / "a.json", lanes))
    assert [lane.lane_id for lane in label.lanes] == ["l1", "r0", "l0"]


def test_numbers_may_be_strings_or_numbers(tmp_path: Path) -> None:
    numbers = _write(tmp_path / "a.json", {"l0": [_marker(600), _marker(560)]})
    text = json.loads(numbers.read_text(), parse_int=str, parse_float=str)
    (tmp_path / "b.json").write_text(json.dumps(text))
    one, other = read_label(numbers), read_label(tmp_path / "b.json")
    assert one.lanes == other.lanes
    np.testing.assert_array_equal(one.projection, other.projection)


def test_a_marker_is_a_quad_of_ten_centimetres(tmp_path: Path) -> None:
    lanes = {"r0": [_marker(600, x=1.0), _marker(560, x=1.0)]}
    label = read_label(_write(tmp_path / "a.json", lanes))
    rows, columns = np.nonzero(class_mask(label) == 3)
    # near end: z = 5, row 350 + 1000 * 1.5 / 5 = 650, x 638 + 200, half width 1000 * 0.1 / 5 / 2 = 10 pixels
    assert rows.max() == 650
    assert rows.min() == round(350 + 1500 / 8)
    assert [columns[rows == 650].min(), columns[rows == 650].max()] == pytest.approx([828, 848], abs=1)  # smoothed edge


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lanes": "none"}, "lanes must follow"),
        ({"projection_matrix": [[1, 0], [0, 1]]}, "projection_matrix"),
        ({"lanes": [{"lane_id": "x0", "markers": []}]}, r"lanes\.0\.lane_id"),
        ({"lanes": [{"lane_id": "l0", "markers": [{**_marker(1), "world_end": {"x": "far"}}]}]}, "world_end"),
        ({"lanes": [{"lane_id": "l0", "markers": [_marker(float("nan"))]}]}, r"pixel_start\.y"),
    ],
)
def test_malformed_labels_are_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = _write(tmp_path / "a.json", {}, **changes)
    with pytest.raises(SceneError, match=message) as caught:
        read_label(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    for name in ("a.json", "missing.json"):
        with pytest.raises(SceneError, match=name):
            read_label(tmp_path / name)


def test_a_marker_in_the_camera_plane_is_refused(tmp_path: Path) -> None:
    label = read_label(_write(tmp_path / "a.json", {"l0": [_marker(600, z=0.0), _marker(560)]}))
    with pytest.raises(SceneError, match="camera's plane"):
        class_mask(label)


@pytest.mark.parametrize(
    ("marker", "changes"),
    [
        (_marker(600, z=-1e-6), {}),
        (_marker(600, x=1e300), {}),
        (_marker(600, x=1e308), {}),
        (_marker(600, z=1e-308), {}),
        (_marker(600), {"projection_matrix": [[1e308, 0, 0], [0, 1000, 350], [0, 0, 1]]}),
    ],
)
def test_markers_far_outside_the_frame_are_refused_at_once(
    tmp_path: Path, marker: dict[str, Any], changes: dict[str, Any]
) -> None:
    label = read_label(_write(tmp_path / "a.json", {"l0": [marker, _marker(560)]}, **changes))
    for mask in (class_mask, binary_mask):
        with pytest.raises(SceneError, match="markers must lie within 100,000 pixels"):
            mask(label)


def test_the_first_of_many_faults_is_enough(tmp_path: Path) -> None:
    """Listing all 100,000 took longer than reading the file."""
    path = _write(tmp_path / "a.json", {"l0": [{}] * 100_000})
    with pytest.raises(SceneError, match=r"lanes\.0\.markers\.0\.world_start") as caught:
        read_label(path)
    cause = caught.value.__cause__
    assert isinstance(cause, ValidationError)
    assert cause.error_count() <= 3  # of one marker
