"""Real sample frames, when they are there: every ApolloScape frame, and one in ten of the plain folder."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from intra_search.config.scenes import ScenesSettings
from intra_search.scenes.apolloscape import KEPT_ROWS_PER_COLUMN
from intra_search.scenes.check import check_scenes
from intra_search.scenes.culane import CulaneScenes
from intra_search.scenes.lane_files import read_lanes
from intra_search.scenes.lane_masks import draw_lane_mask, number_lanes
from intra_search.scenes.scene_set import open_scenes
from intra_search.scenes.source import SPLITS

pytestmark = pytest.mark.real


def _root(name: str) -> str:
    root = Path(os.environ.get("INTRA_SEARCH_REAL_DATA", "unset")) / name
    if not root.is_dir():
        pytest.skip(f"no data at {root} (INTRA_SEARCH_REAL_DATA)")
    return str(root)


def test_all_apolloscape_frames() -> None:
    settings = ScenesSettings(dataset="apolloscape", root=_root("apolloscape67"), crop_top="paper", height=128)
    sets = {split: open_scenes(settings, split) for split in SPLITS}
    assert sum(map(len, sets.values())) == 67
    assert len(sets["train"].classes) == 36
    seen = np.zeros(256, np.int64)
    for scenes in sets.values():
        check_scenes(scenes)
        for index in range(len(scenes)):
            image, labels = scenes.load(index)
            assert image.shape == (427, 846, 3)
            seen += np.bincount(labels.ravel(), minlength=256)
            view = scenes.evaluation(index)
            assert (view.image.shape, view.labels.shape) == ((3, 128, 416), (128, 416))
    assert seen.sum() == 67 * 427 * 846
    # Counted apart from this package, by Pillow from the palette indices: ids 0, 200, 214, 227.
    assert (seen[0], seen[1], seen[18], seen[33]) == (19377921, 149285, 185782, 39028)
    assert not seen[36:255].any()


def test_both_cameras_of_a_record_are_in_one_split() -> None:
    settings = ScenesSettings(dataset="apolloscape", root=_root("apolloscape67"))
    records = {split: set(open_scenes(settings, split).groups) for split in SPLITS}
    assert sum(map(len, records.values())) == len(set.union(*records.values())) == 14
    assert {name.split("/")[2] for name in open_scenes(settings, "train").names} == {"Camera_5", "Camera_6"}


def test_the_papers_crop_keeps_the_road() -> None:
    """Nearly all markings lie in the rows that the crop keeps."""
    settings = ScenesSettings(dataset="apolloscape", root=_root("apolloscape67"))
    kept = all_paint = 0
    scenes = open_scenes(settings, "train")
    for index in range(len(scenes)):
        labels = scenes.load(index)[1]
        paint = (labels > 0) & (labels < 255)
        all_paint += int(paint.sum())
        kept += int(paint[427 - round(846 * KEPT_ROWS_PER_COLUMN) :].sum())
    assert kept > 0.95 * all_paint


def test_one_in_ten_of_the_folder() -> None:
    recipe = {"scale": (0.8, 1.3), "rotation": 5.0, "colour": 0.2}
    tree = {"dataset": "folder", "root": _root("lanes_folder"), "augment": recipe}
    settings = ScenesSettings.model_validate(tree)
    sets = {split: open_scenes(settings, split) for split in SPLITS}
    assert sum(map(len, sets.values())) == 576
    assert sum(len(set(found.groups)) for found in sets.values()) == 6
    for scenes in sets.values():
        assert [row.name for row in scenes.classes][1:] == ["left_dashed", "left_solid", "right_dashed", "right_solid"]
        for index in range(0, len(scenes), 10):
            image, labels = scenes.load(index)
            assert image.shape == (*labels.shape, 3)
            assert set(np.unique(labels).tolist()) <= {0, 1, 2, 3, 4, 255}
            view = scenes.view(index, 0, 0)
            assert (view.image.shape, view.labels.shape) == ((3, 160, 416), (160, 416))
            assert view.image.dtype == torch.uint8


def test_culane_frames_agree_with_their_lists() -> None:
    settings = ScenesSettings(dataset="culane", root=_root("culane60"), crop_top="paper", height=96, width=448)
    source = CulaneScenes(settings)
    sets = {split: open_scenes(settings, split) for split in SPLITS}
    assert {split: len(found) for split, found in sets.items()} == {"train": 40, "val": 10, "test": 10}
    for index in range(0, 60, 3):
        image, labels = source.load(index)
        assert image.shape == (590, 1640, 3)
        flags = source.existence(index)
        present = tuple(label in labels for label in source.lanes)
        assert flags == (None if index >= 50 else present)
        lines = read_lanes(Path(str(settings.root)) / f"{source.scenes[index].name}.lines.txt")
        drawn = draw_lane_mask(number_lanes(lines), *labels.shape)
        for label in source.lanes:
            # The sample's lanes were read off its masks: drawn again, they cover most of them.
            assert (drawn[labels == label] == label).mean() > 0.6 if label in labels else True
    assert sets["val"].evaluation(0).labels.shape == (96, 448)
