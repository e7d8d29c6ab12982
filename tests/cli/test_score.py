"""`intra-search score` through its command line: the oracles' numbers, and one clear line for bad input."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from intra_search.cli.score import score_app
from intra_search.errors import IntraSearchError
from intra_search.metrics.culane import SCENARIOS
from intra_search.scenes.lane_files import write_lanes

GOLDEN = Path(__file__).parents[1] / "golden"


def _score(*words: object) -> dict[str, Any]:
    result = CliRunner().invoke(score_app, [*map(str, words), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def _refusal(*words: object) -> str:
    with pytest.raises(IntraSearchError) as caught:
        CliRunner().invoke(score_app, [*map(str, words)], catch_exceptions=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# CULane


@pytest.fixture(scope="module")
def culane_frames() -> dict[str, Any]:
    frames: dict[str, Any] = json.loads((GOLDEN / "culane_f1.json").read_text())["frames"]
    return frames


@pytest.fixture
def culane(tmp_path: Path, culane_frames: dict[str, Any]) -> Callable[..., list[object]]:
    """Writes the first frames as files in the official layout and gives the command for them."""
    data, predictions = tmp_path / "culane", tmp_path / "predicted_lanes"

    def write(num_frames: int = 150) -> list[object]:
        names = [f"/driver_00_00frame/clip.MP4/{name}.jpg" for name in list(culane_frames)[:num_frames]]
        for name, frame in zip(names, culane_frames.values(), strict=False):
            for root, lanes in ((data, frame["gt"]), (predictions, frame["pred"])):
                if lanes is not None:
                    arrays = [np.array(lane, np.float64).reshape(-1, 2) for lane in lanes]
                    write_lanes(root / name[1:].replace(".jpg", ".lines.txt"), arrays)
        (data / "list" / "test_split").mkdir(parents=True)
        (data / "list" / "test.txt").write_text("\n".join(names) + "\n")
        for index, file in enumerate(SCENARIOS.values()):
            (data / "list" / "test_split" / file).write_text("\n".join(names[index::9]) + "\n")
        words = ["--annotations", data, "--predictions", predictions, "--list", data / "list" / "test.txt"]
        return ["culane", *words]

    return write


def test_culane_equals_the_official_totals(culane: Callable[..., list[object]]) -> None:
    official = json.loads((GOLDEN / "culane_f1.json").read_text())["total"]
    command = culane()
    for key, options in (
        ("width30_iou0.5", ["--processes", 2]),
        ("width30_iou0.3", ["--iou", 0.3, "--image-size", "1640x590"]),
        ("width16_iou0.5", ["--width", 16]),
    ):
        report = _score(*command, *options)
        assert {name: report[name] for name in ("tp", "fp", "fn")} == {
            name: official[key][name] for name in ("tp", "fp", "fn")
        }
        for name in ("precision", "recall", "f1"):
            assert f"{report[name]:.6g}" == official[key][name]
    assert report["num_frames"] == 150
    assert report["missing_predictions"] == 5


def test_culane_by_scenario(culane: Callable[..., list[object]], culane_frames: dict[str, Any]) -> None:
    report = _score(*culane(), "--by-scenario")
    assert list(report["scenarios"]) == list(SCENARIOS)
    frames = list(culane_frames.values())
    for index, counts in enumerate(report["scenarios"].values()):
        official = [frame["official"] for frame in frames[index::9]]
        assert [counts[name] for name in ("tp", "fp", "fn")] == np.sum(official, axis=0).tolist()
    assert sum(counts["tp"] for counts in report["scenarios"].values()) == report["tp"]


def test_culane_scores_the_scenario_lists_that_are_there(culane: Callable[..., list[object]], tmp_path: Path) -> None:
    command = culane(20)
    lists = tmp_path / "culane/list/test_split"
    (lists / "test7_cross.txt").unlink()
    report = _score(*command, "--by-scenario")
    assert report["missing_scenarios"] == ["test7_cross.txt"]
    assert list(report["scenarios"]) == [name for name in SCENARIOS if name != "cross"]
    shutil.rmtree(lists)
    assert "test_split: must be the folder of the scenario lists" in _refusal(*command, "--by-scenario")


def test_culane_counts_predictions_of_unlisted_frames(culane: Callable[..., list[object]], tmp_path: Path) -> None:
    command = culane(20)
    write_lanes(tmp_path / "predicted_lanes/driver_00_00frame/clip.MP4/other.lines.txt", [])
    assert _score(*command)["unlisted_predictions"] == 1


def test_culane_lanes_that_are_a_folder_are_refused(culane: Callable[..., list[object]], tmp_path: Path) -> None:
    command = culane(10)
    lanes = tmp_path / "predicted_lanes/driver_00_00frame/clip.MP4/frame_0000.lines.txt"
    lanes.unlink()
    lanes.mkdir()
    assert "frame_0000.lines.txt: must be a readable text file" in _refusal(*command)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3\n", "frame_0000.lines.txt:1: must hold pairs"),
        ("1 2\n3 far\n", "frame_0000.lines.txt:2: must hold numbers only, found 'far'"),
        ("1 2 3 nan\n", "frame_0000.lines.txt:1: must hold finite numbers, found nan"),
    ],
)
def test_culane_malformed_lanes(culane: Callable[..., list[object]], tmp_path: Path, text: str, message: str) -> None:
    command = culane(10)
    broken = tmp_path / "predicted_lanes/driver_00_00frame/clip.MP4/frame_0000.lines.txt"
    broken.write_text(text)
    assert message in _refusal(*command)
    report = _score(*command, "--skip-bad")
    assert report["num_frames"] == 9
    assert len(report["skipped"]) == 1
    assert message in report["skipped"][0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.jpg b.png 1", "test.txt:2: must hold 1, 2 or 6 fields, found 3"),
        ("/../secret.jpg", "test.txt:2: must name an image inside"),
    ],
)
def test_culane_malformed_list(culane: Callable[..., list[object]], tmp_path: Path, line: str, message: str) -> None:
    command = culane(10)
    (tmp_path / "culane/list/test.txt").write_text(f"/driver_00_00frame/clip.MP4/frame_0000.jpg\n{line}\n")
    assert message in _refusal(*command)
    report = _score(*command, "--skip-bad")
    assert report["num_frames"] == 1
    assert message in report["skipped"][0]


def test_culane_lists_and_folders_must_be_there(culane: Callable[..., list[object]], tmp_path: Path) -> None:
    command = culane(10)
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    assert "must name at least one frame" in _refusal(*command[:-1], empty)
    assert "absent.txt" in _refusal(*command[:-1], tmp_path / "absent.txt")
    (tmp_path / "nobody").mkdir()
    assert "must hold predictions for the list" in _refusal(*command, "--predictions", tmp_path / "nobody")
    assert "must be the folder of predictions" in _refusal(*command, "--predictions", tmp_path / "nowhere")
    (tmp_path / "culane/driver_00_00frame/clip.MP4/frame_0003.lines.txt").unlink()
    assert "frame_0003.lines.txt" in _refusal(*command)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--image-size", "1640"),
        ("--image-size", "0x590"),
        ("--image-size", "100000x590"),
        ("--width", 0),
        ("--width", 100_000),
        ("--iou", 1.5),
    ],
)
def test_culane_bad_options(culane: Callable[..., list[object]], option: str, value: object) -> None:
    assert _refusal(*culane(10), option, value).startswith(option)


# ApolloScape


@pytest.fixture
def apolloscape(tmp_path: Path) -> list[object]:
    """The oracle's pairs under one relative name each, in folders as deep as the official ones."""
    for side, root in (("gt", "labels"), ("pred", "predictions")):
        folder = tmp_path / root / "Record001" / "Camera 5"
        folder.mkdir(parents=True)
        for index in range(6):
            shutil.copy(GOLDEN / "apolloscape" / f"{index:03}_{side}.png", folder / f"{index:03}_bin.png")
    return ["apolloscape", "--labels", tmp_path / "labels", "--predictions", tmp_path / "predictions"]


def test_apolloscape_equals_the_official_script(apolloscape: list[object]) -> None:
    expected = json.loads((GOLDEN / "apolloscape" / "expected.json").read_text())
    report = _score(*apolloscape)
    assert report["class_iou"] == pytest.approx(expected["class_iou"], abs=1e-9)
    for name in ("mean_iou", "mean_iou_without_void"):
        assert report[name] == pytest.approx(expected[name], abs=1e-9)
    assert report["num_images"] == 6


def test_apolloscape_bad_pairs(apolloscape: list[object], tmp_path: Path) -> None:
    label, prediction = (tmp_path / root / "Record001/Camera 5/002_bin.png" for root in ("labels", "predictions"))
    good = prediction.read_bytes()
    ids = cv2.imread(str(prediction), cv2.IMREAD_UNCHANGED)
    assert ids is not None
    cv2.imwrite(str(prediction), ids[:-1])
    assert "must have the label's size" in _refusal(*apolloscape)
    cv2.imwrite(str(prediction), np.full_like(ids, 36))
    assert "id 36" in _refusal(*apolloscape)
    prediction.write_bytes(good[: len(good) // 2])
    assert "must be a whole image" in _refusal(*apolloscape)
    prediction.unlink()
    assert "it is the prediction for" in _refusal(*apolloscape)
    report = _score(*apolloscape, "--skip-bad")
    assert (report["num_images"], len(report["skipped"])) == (5, 1)
    prediction.write_bytes(good)
    label.unlink()
    assert "it is the label of" in _refusal(*apolloscape)


def test_apolloscape_without_labels(apolloscape: list[object], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "must hold PNG labels" in _refusal(*apolloscape, "--labels", tmp_path / "empty")
    assert "must hold PNG predictions" in _refusal(*apolloscape, "--predictions", tmp_path / "empty")


def test_apolloscape_labels_of_the_data_set_pair_with_a_submission(apolloscape: list[object], tmp_path: Path) -> None:
    """Six pairs in two records of one road; a third record has no prediction."""
    data, submission = tmp_path / "data", tmp_path / "submission"
    for index in range(6):
        (stem, record), camera = (f"170927_{index}_Camera_5", f"Record00{index % 2}"), "Camera 5"
        label = data / "Labels_road02" / "Label" / record / camera / f"{stem}_bin.png"
        prediction = submission / "road02" / f"{stem}.png"
        for side, path in (("gt", label), ("pred", prediction)):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(GOLDEN / "apolloscape" / f"{index:03}_{side}.png", path)
    other = data / "Labels_road02/Label/Record009/Camera 6/170927_9_Camera_6_bin.png"
    other.parent.mkdir(parents=True)
    shutil.copy(label, other)
    command = ["apolloscape", "--labels", data, "--predictions", submission]
    report = _score(*command)
    assert report["labels_passed_over"] == 1
    plain = _score(*apolloscape)
    assert {**report, "labels_passed_over": 0} == plain
    prediction.unlink()
    assert f"{prediction}: must exist: it is the prediction for {label}" in _refusal(*command)
    (submission / "road02/other.png").write_bytes(b"")
    report = _score(*command, "--skip-bad")
    assert (report["num_images"], len(report["skipped"])) == (5, 2)
    shutil.copy(label, other.with_name(label.name))
    assert "names must differ within a road" in _refusal(*command)


def test_apolloscape_with_nothing_usable(apolloscape: list[object], tmp_path: Path) -> None:
    for path in (tmp_path / "predictions/Record001/Camera 5").iterdir():
        path.write_bytes(b"")
    assert "needs at least one usable file" in _refusal(*apolloscape, "--skip-bad")


def test_apolloscape_reads_palette_and_colours(tmp_path: Path) -> None:
    from PIL import Image

    ids = np.array([[0, 200, 204], [201, 249, 255]], np.uint8)
    colours = {0: (0, 0, 0), 200: (70, 130, 180), 204: (220, 20, 60), 201: (0, 0, 142), 249: (0, 0, 153)}
    painted = np.array([[colours.get(int(value), (255, 255, 255)) for value in row] for row in ids], np.uint8)
    painted[1, 1] = (0, 153, 153)
    (tmp_path / "labels").mkdir()
    (tmp_path / "predictions").mkdir()
    palette = Image.fromarray(ids)
    palette.putpalette([1, 2, 3] * 256)
    palette.save(tmp_path / "labels" / "a.png")
    Image.fromarray(painted).save(tmp_path / "predictions" / "a.png")
    report = _score("apolloscape", "--labels", tmp_path / "labels", "--predictions", tmp_path / "predictions")
    assert report["mean_iou"] == 1.0


# LLAMAS


@pytest.fixture
def llamas(tmp_path: Path) -> list[object]:
    for root, pattern in (("llamas_labels", "*.json"), ("llamas_predictions", "*.json_*.png")):
        folder = tmp_path / root / "recording"
        folder.mkdir(parents=True)
        for path in (GOLDEN / "llamas").glob(pattern):
            shutil.copy(path, folder)
    return ["llamas", "--labels", tmp_path / "llamas_labels", "--predictions", tmp_path / "llamas_predictions"]


def test_llamas_equals_the_official_script(llamas: list[object]) -> None:
    expected = json.loads((GOLDEN / "llamas" / "expected.json").read_text())
    report = _score(*llamas)
    assert report["auc"] == pytest.approx({key: expected["mean_auc"][key] for key in "01234"}, abs=1e-9)
    assert report["mean_average_precision"] == pytest.approx(expected["multi_class_map"], abs=1e-9)
    assert report["num_images"] == 5
    assert report["not_labels"] == ["recording/expected.json"]
    binary = _score(*llamas, "--binary")
    assert binary["auc"] == pytest.approx({"1": expected["mean_auc"]["binary"]}, abs=1e-9)
    assert binary["mean_average_precision"] == binary["auc"]["1"]


def test_llamas_with_labels_and_predictions_in_one_folder() -> None:
    report = _score("llamas", "--labels", GOLDEN / "llamas", "--predictions", GOLDEN / "llamas")
    assert report["num_images"] == 5


def test_llamas_bad_pairs(llamas: list[object], tmp_path: Path) -> None:
    stem = "recording/1419211002_0744236000.json"
    prediction, label = tmp_path / "llamas_predictions" / f"{stem}_3.png", tmp_path / "llamas_labels" / stem
    good = prediction.read_bytes()
    cv2.imwrite(str(prediction), np.zeros((384, 1276), np.uint8))
    assert "found 1276 x 384" in _refusal(*llamas)
    prediction.write_bytes(good[: len(good) // 2])
    assert "must be a whole image" in _refusal(*llamas)
    prediction.unlink()
    assert f"{stem}_3.png" in _refusal(*llamas)
    report = _score(*llamas, "--skip-bad")
    assert (report["num_images"], len(report["skipped"])) == (4, 1)
    prediction.write_bytes(good)
    text = label.read_text()
    label.write_text(text.replace("lane_id", "id"))
    assert "lanes.0.lane_id" in _refusal(*llamas)
    label.write_text(text[:100])
    assert "must be a JSON label file" in _refusal(*llamas)
    label.unlink()
    assert "add the label file" in _refusal(*llamas)


@pytest.mark.parametrize(("kind", "mode"), [(np.uint16, "I;16"), (np.uint8, "RGB")])
def test_llamas_probabilities_are_8_bit_grey(
    llamas: list[object], tmp_path: Path, kind: type[np.generic], mode: str
) -> None:
    prediction = tmp_path / "llamas_predictions/recording/1419211002_0744236000.json_3.png"
    cv2.imwrite(str(prediction), np.zeros((717, 1276, 3) if mode == "RGB" else (717, 1276), kind))
    assert f"{prediction}: must be an 8-bit grey image, found mode {mode}" in _refusal(*llamas)


def test_llamas_predictions_of_no_class_are_refused_and_other_pictures_told(
    llamas: list[object], tmp_path: Path
) -> None:
    folder = tmp_path / "llamas_predictions/recording"
    (folder / "sheet.png").write_bytes(b"")
    assert _score(*llamas)["not_predictions"] == ["recording/sheet.png"]
    strange = folder / "1419211002_0744236000.json_5.png"
    strange.write_bytes(b"")
    assert f"{strange}: must be of a class 0 to 4, found class 5" in _refusal(*llamas)
    report = _score(*llamas, "--skip-bad")
    assert report["num_images"] == 5
    assert len(report["skipped"]) == 1


def test_llamas_a_marker_in_the_cameras_plane_names_its_file(llamas: list[object], tmp_path: Path) -> None:
    label = tmp_path / "llamas_labels/recording/1419211002_0744236000.json"
    label.write_text(re.sub(r'"z": "?[0-9.]+"?', '"z": 0', label.read_text()))
    for command in (llamas, [*llamas, "--binary"]):
        assert f"{label}: a marker must not lie in the camera's plane" in _refusal(*command)


def test_llamas_json_nested_too_deep(llamas: list[object], tmp_path: Path) -> None:
    label = tmp_path / "llamas_labels/recording/1419211002_0744236000.json"
    label.write_text("[" * 100_000 + "]" * 100_000)
    assert f"{label}: must be a JSON label file" in _refusal(*llamas)
    label.rename(label.with_name("other.json"))
    assert "1419211002_0744236000.json: must exist" in _refusal(*llamas)


def test_llamas_without_labels(llamas: list[object], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "must hold LLAMAS label files" in _refusal(*llamas, "--labels", tmp_path / "empty")


# Tables and start-up


def test_tables_name_what_was_scored(
    culane: Callable[..., list[object]], apolloscape: list[object], llamas: list[object]
) -> None:
    for command, words in (
        ([*culane(20), "--by-scenario"], ("CULane, 20 frames", "normal", "night", "F1")),
        (apolloscape, ("ApolloScape, 6 images", "s_w_d", "mean without void", "0.3767")),
        (llamas, ("LLAMAS, 5 images", "background", "exact AP", "0.3224")),
        ([*llamas, "--binary"], ("marker",)),
    ):
        result = CliRunner().invoke(score_app, [*map(str, command)], catch_exceptions=False)
        assert result.exit_code == 0
        assert all(word in result.stdout for word in words)


def test_help_imports_no_numerics() -> None:
    code = (
        "import sys; from intra_search.cli.score import score_app; "
        "print([name for name in ('torch', 'ray', 'numpy', 'cv2') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_scoring_imports_no_torch() -> None:
    code = "import sys, intra_search.metrics.score; print([name for name in ('torch', 'ray') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
