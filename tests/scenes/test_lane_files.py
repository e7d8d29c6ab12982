"""CULane's text files: round trips, the forms that the official tool takes, and one line for what it would misread."""

from pathlib import Path

import numpy as np
import pytest

from intra_search.errors import SceneError
from intra_search.scenes.lane_files import lanes_name, read_frame_list, read_lanes, write_lanes


def test_lanes_survive_a_round_trip(tmp_path: Path) -> None:
    lanes = [np.array([[-12.5, 590.0], [3.125, 580.0]]), np.array([[1700.001, 590.0]]), np.zeros((0, 2))]
    write_lanes(tmp_path / "a" / "b.lines.txt", lanes)
    assert (tmp_path / "a" / "b.lines.txt").read_text() == "-12.500 590 3.125 580\n1700.001 590\n\n"
    for read, written in zip(read_lanes(tmp_path / "a" / "b.lines.txt"), lanes, strict=True):
        np.testing.assert_array_equal(read, written)


def test_an_empty_file_holds_no_lanes_but_an_empty_line_is_one(tmp_path: Path) -> None:
    path = tmp_path / "a.lines.txt"
    write_lanes(path, [])
    assert read_lanes(path) == []
    path.write_text("1 2 3 4 \r\n\n5 6\t7 8")
    assert [lane.tolist() for lane in read_lanes(path)] == [[[1, 2], [3, 4]], [], [[5, 6], [7, 8]]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3", ":1: must hold pairs of x and y, found 3 numbers"),
        ("1 2\nx 3", ":2: must hold numbers only, found 'x'"),
        ("1 inf", ":1: must hold finite numbers, found inf"),
        ("1 2\n3 4 NaN 1", ":2: must hold finite numbers, found NaN"),
        ("1 2 3 -1e300", ":1: points must lie within 1,000,000 pixels, found -1e+300"),
        ("\n" * 101, ": must hold at most 100 lanes, found 101"),
    ],
)
def test_malformed_lanes(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.lines.txt"
    path.write_text(text)
    with pytest.raises(SceneError) as caught:
        read_lanes(path)
    assert f"{path}{message}" in str(caught.value)


def test_unreadable_lanes(tmp_path: Path) -> None:
    (tmp_path / "a.lines.txt").write_bytes(b"\xff\xfe")
    for name in ("a.lines.txt", "missing.lines.txt"):
        with pytest.raises(SceneError, match="must be a readable text file"):
            read_lanes(tmp_path / name)


def test_list_forms(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("/a/1.jpg\nb/2.jpg\n\n/c/3.jpg /l/3.png 1 0 1 1\nd/4.jpg l/4.png\n")
    assert read_frame_list(path) == ["a/1.jpg", "b/2.jpg", "c/3.jpg", "d/4.jpg"]
    assert lanes_name("c.MP4/3.jpg") == "c.MP4/3.lines.txt"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg\nb.jpg b.png 1 1 1", "list.txt:2: must hold 1, 2 or 6 fields, found 5"),
        ("../a.jpg", "list.txt:1: must name an image inside"),
        ("/", "list.txt:1: must name an image inside"),
        ('{"frames":' + "[1]," * 200, "list.txt:1: must name an image inside"),
        ("a\0.jpg", "list.txt:1: must name an image inside"),
        ("ä" * 130 + ".jpg", "list.txt:1: must name an image inside"),
        ("a/" * 2000 + "b.jpg", "list.txt:1: must name an image inside"),
        ("\n \n", "list.txt: must name at least one frame"),
    ],
)
def test_malformed_lists(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(SceneError) as caught:
        read_frame_list(path)
    assert message in str(caught.value)


def test_missing_list(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="must be a readable list"):
        read_frame_list(tmp_path / "list.txt")
