"""CULane's lists are the split; flags and masks are read as listed; what is missing is told, what is wrong refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intra_search.config.scenes import ScenesSettings
from intra_search.errors import SceneError, SettingError
from intra_search.scenes.culane import SWAP, CulaneScenes
from intra_search.scenes.lane_masks import draw_lane_mask, number_lanes
from intra_search.scenes.scene_set import open_scenes


def test_the_lists_are_the_split(culane_settings: ScenesSettings) -> None:
    source = CulaneScenes(culane_settings)
    assert source.splits == {"train": [0, 1], "val": [2], "test": [3, 4, 5]}
    assert source.scenes[0] == ("driver_1_30frame/a.MP4/00001", "driver_1_30frame/a.MP4")
    assert [row.name for row in source.classes] == ["background", "far_left", "left", "right", "far_right"]


def test_flags_and_labels_are_those_of_the_files(culane_settings: ScenesSettings) -> None:
    source = CulaneScenes(culane_settings)
    assert source.existence(0) == (True, True, True, True)
    assert source.existence(1) == (False, True, True, False)
    assert source.existence(2) == (False, False, False, False)
    assert source.existence(3) is None  # listed without flags
    image, labels = source.load(1)
    assert image.shape == (32, 64, 3)
    assert labels[20, [0, 10, 20, 30]].tolist() == [0, 2, 3, 0]
    assert np.count_nonzero(labels) == 2


def test_a_mask_among_the_test_labels_is_found(culane_settings: ScenesSettings) -> None:
    assert CulaneScenes(culane_settings).load(5)[1][20, [0, 10, 20, 30]].tolist() == [1, 2, 3, 4]


def test_a_test_frame_without_mask_shows_its_lanes(
    culane_settings: ScenesSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """Its one lane leans left (towards the bottom), so it is the ego lane's left border, class 2."""
    source = CulaneScenes(culane_settings)
    labels = source.load(4)[1]
    assert set(np.unique(labels).tolist()) == {0, 2}
    assert labels[21, 25] == 2
    assert "Drawing the labels of 1 test frames from their .lines.txt" in caplog.text


def test_lanes_are_numbered_by_slope_from_the_middle() -> None:
    """Columns per row: -4, -1, 0.5, 3, 9: the third on the right and a lane of one point have no class."""
    rows = np.array([580.0, 570.0, 560.0])
    lanes = {lean: np.stack([800 + lean * (rows - 300), rows], axis=1) for lean in (9, -1, 3, 0.5, -4)}
    numbered = number_lanes([*lanes.values(), np.array([[1.0, 2.0]])])
    assert {label: int(np.sign(lane[0, 0] - lane[1, 0])) for label, lane in numbered.items()} == {
        1: -1,
        2: -1,
        3: 1,
        4: 1,
    }
    for label, lean in ((1, -4), (2, -1), (3, 0.5), (4, 3)):
        np.testing.assert_array_equal(numbered[label], lanes[lean])


def test_a_stroke_is_sixteen_pixels_broad() -> None:
    for width, stroke in ((1640, 16), (820, 8), (64, 1)):
        mask = draw_lane_mask({3: np.array([[30.0, 0.0], [30.0, 99.0]])}, 100, width)
        assert set(np.unique(mask).tolist()) == {0, 3}
        assert abs(int(np.count_nonzero(mask[50])) - stroke) <= 1
        assert abs(np.flatnonzero(mask[50]).mean() - 30) <= 0.5


def test_points_far_outside_draw_nothing() -> None:
    assert not draw_lane_mask({1: np.array([[1e9, -1e9], [1e9, 1e9]])}, 10, 10).any()


def test_a_flip_swaps_the_lanes(culane_settings: ScenesSettings) -> None:
    settings = culane_settings.model_copy(
        update={"augment": culane_settings.augment.model_copy(update={"flip": True}), "cache": False}
    )
    scenes = open_scenes(settings, "train")
    plain = {1: 0, 2: 10, 3: 20, 4: 30}
    swapped: dict[int, int] = {}
    for view in range(8):
        labels = scenes.view(0, view, 0).labels[20].numpy()
        found = {int(label): int(np.flatnonzero(labels == label)[0]) for label in np.unique(labels) if label}
        swapped = found if found != plain else swapped
    assert swapped == {SWAP[label]: 63 - column for label, column in plain.items()}


def test_the_papers_crop() -> None:
    assert CulaneScenes.paper_crop_top(590, 1640) == 240
    assert CulaneScenes.paper_crop_top(295, 820) == 120


def _lose_clip(root: Path) -> None:
    for path in (root / "driver_1_30frame" / "b.MP4").iterdir():
        path.unlink()


def _lose_label(root: Path) -> None:
    (root / "laneseg_label_w16/driver_1_30frame/b.MP4/00002.png").unlink()


@pytest.mark.parametrize(
    ("harm", "told"),
    [(_lose_clip, "driver_1_30frame (1 files)"), (_lose_label, "laneseg_label_w16/driver_1_30frame (1 files)")],
)
def test_a_partial_download_opens_and_tells_what_is_missing(
    culane_settings: ScenesSettings, culane_root: Path, caplog: pytest.LogCaptureFixture, harm: object, told: str
) -> None:
    assert callable(harm)
    harm(culane_root)
    assert CulaneScenes(culane_settings).splits == {"train": [0], "val": [1], "test": [2, 3, 4]}
    assert f"Leaving out frames whose files are missing: {told}" in caplog.text


def _lose_image_of_test_clip(root: Path) -> None:
    (root / "driver_3_30frame/d.MP4/00005.jpg").unlink()


def _lose_lanes_of_test_clip(root: Path) -> None:
    (root / "driver_3_30frame/d.MP4/00005.lines.txt").unlink()  # it has no mask either


def _lose_mask_of_shared_clip(root: Path) -> None:
    """A second frame of clip a.MP4 is listed, whose mask is not there."""
    clip = root / "driver_1_30frame/a.MP4"
    (clip / "00009.jpg").write_bytes((clip / "00001.jpg").read_bytes())
    path = root / "list/train_gt.txt"
    path.write_text(path.read_text() + path.read_text().splitlines()[0].replace("00001", "00009") + "\n")


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (_lose_image_of_test_clip, "list/test.txt:2: .* found no driver_3_30frame/d.MP4/00005.jpg, but others"),
        (_lose_lanes_of_test_clip, "list/test.txt:2: .* found no .*d.MP4/00005.png, but others"),
        (_lose_mask_of_shared_clip, "list/train_gt.txt:3: .* found no laneseg_label_w16/.*a.MP4/00009.png, but others"),
    ],
)
def test_a_file_lost_from_its_folder_is_refused(
    culane_settings: ScenesSettings, culane_root: Path, harm: object, told: str
) -> None:
    assert callable(harm)
    harm(culane_root)
    with pytest.raises(SceneError, match=told):
        CulaneScenes(culane_settings)


def test_the_signature_sees_flags_and_lanes(culane_settings: ScenesSettings, culane_root: Path) -> None:
    """What the official metric and the existence branch read is part of what the data set is."""
    seen = {CulaneScenes(culane_settings).signature()}
    lanes = culane_root / "driver_2_30frame/c.MP4/00003.lines.txt"
    lanes.write_text("20 31 30 11\n40 31 30 11\n")
    seen.add(CulaneScenes(culane_settings).signature())
    lanes.unlink()
    seen.add(CulaneScenes(culane_settings).signature())
    path = culane_root / "list/train_gt.txt"
    path.write_text(path.read_text().replace("0 1 1 0", "0 1 1 1"))
    seen.add(CulaneScenes(culane_settings).signature())
    assert len(seen) == 4


def test_a_split_that_is_not_there_is_refused_when_it_is_opened(
    culane_settings: ScenesSettings, culane_root: Path
) -> None:
    for path in (culane_root / "driver_3_30frame/d.MP4").iterdir():
        path.unlink()
    assert len(open_scenes(culane_settings, "train")) == 2
    with pytest.raises(SceneError, match="test must hold at least one scene"):
        open_scenes(culane_settings, "test")


def test_clips_shared_by_splits_are_told(
    culane_settings: ScenesSettings, culane_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = culane_root / "list/val_gt.txt"
    first, second = (culane_root / "list/train_gt.txt").read_text().splitlines()
    (culane_root / "list/train_gt.txt").write_text(first + "\n")
    path.write_text(path.read_text() + second.replace("b.MP4/00002", "a.MP4/00001b") + "\n")
    for folder, suffix in (("", ".jpg"), ("laneseg_label_w16/", ".png")):
        clip = culane_root / f"{folder}driver_1_30frame/a.MP4"
        (clip / f"00001b{suffix}").write_bytes((clip / f"00001{suffix}").read_bytes())
    CulaneScenes(culane_settings)
    assert "The lists share 1 clips between splits, for example driver_1_30frame/a.MP4" in caplog.text


def _no_list(root: Path) -> None:
    (root / "list/val_gt.txt").unlink()


def _four_flags(root: Path) -> None:
    path = root / "list/train_gt.txt"
    path.write_text(path.read_text().replace("1 1 1 1", "1 1 1"))


def _strange_flag(root: Path) -> None:
    path = root / "list/train_gt.txt"
    path.write_text(path.read_text().replace("0 1 1 0", "0 1 2 0"))


def _outside(root: Path) -> None:
    path = root / "list/train_gt.txt"
    path.write_text(path.read_text().replace("laneseg_label_w16/driver_1_30frame/b.MP4", "../b"))


def _in_two_splits(root: Path) -> None:
    lists = root / "list"
    (lists / "val_gt.txt").write_text((lists / "val_gt.txt").read_text() + (lists / "train_gt.txt").read_text())


def _nothing_there(root: Path) -> None:
    for path in root.glob("driver_*/*/*.jpg"):
        path.unlink()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_no_list, r"list/val_gt\.txt: must be a readable list"),
        (_four_flags, r"train_gt\.txt:1: must hold 1, 2 or 6 fields, found 5"),
        (_strange_flag, r"train_gt\.txt:2: existence flags must be 0 or 1, found '2'"),
        (_outside, r"train_gt\.txt:2: must name an image inside the data set's folder"),
        (_in_two_splits, r"val_gt\.txt:2: a frame must be in one split only, found driver_1_30frame/a.MP4/00001.jpg"),
        (_nothing_there, r"must hold frames of CULane's lists, found none; missing: driver_1_30frame \(2 files\)"),
    ],
)
def test_bad_lists(culane_settings: ScenesSettings, culane_root: Path, harm: object, message: str) -> None:
    assert callable(harm)
    harm(culane_root)
    with pytest.raises(SceneError, match=message) as caught:
        CulaneScenes(culane_settings)
    assert "\n" not in str(caught.value)


def test_a_repeated_line_counts_once(culane_settings: ScenesSettings, culane_root: Path) -> None:
    path = culane_root / "list/train_gt.txt"
    path.write_text(path.read_text() * 2)
    assert CulaneScenes(culane_settings).splits == {"train": [0, 1], "val": [2], "test": [3, 4, 5]}


def test_a_label_of_no_class_is_refused(culane_settings: ScenesSettings, culane_root: Path) -> None:
    path = culane_root / "laneseg_label_w16/driver_1_30frame/a.MP4/00001.png"
    Image.fromarray(np.full((32, 64), 5, np.uint8)).save(path)
    with pytest.raises(SceneError, match=r"00001\.png: .* found id 5"):
        CulaneScenes(culane_settings).load(0)


@pytest.mark.parametrize("field", ["val_groups", "test_groups"])
def test_groups_have_no_meaning(culane_settings: ScenesSettings, field: str) -> None:
    with pytest.raises(SettingError, match=rf"scenes\.{field}: has no meaning for CULane, found a"):
        CulaneScenes(culane_settings.model_copy(update={field: ("a",)}))
