"""Drawn data sets: every reader reads back exactly the labels that were drawn, in whole folders or none."""

import json
from itertools import chain
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from intra_search.config.scenes import ScenesSettings
from intra_search.errors import IntraSearchError, SettingError, StorageError
from intra_search.metrics.culane import SCENARIOS as OFFICIAL_SCENARIOS
from intra_search.metrics.culane import count_frame
from intra_search.scenes import labels as label_tables
from intra_search.scenes.check import check_scenes
from intra_search.scenes.culane import CulaneScenes
from intra_search.scenes.lane_files import lanes_name, read_frame_list, read_lanes
from intra_search.scenes.lane_masks import number_lanes
from intra_search.scenes.llamas import LlamasScenes
from intra_search.scenes.scene_set import open_scenes
from intra_search.scenes.source import SPLITS
from intra_search.scenes.sources import SOURCES
from intra_search.scenes.writers.culane import SCENARIOS, draw_culane_scene
from intra_search.scenes.writers.formats import FORMATS, RECORD, draw_data_set, draw_order
from intra_search.scenes.writers.order import DrawOrder

SMALL = {"apolloscape": (64, 128), "culane": (118, 328), "llamas": (717, 1276), "folder": (48, 64)}


@pytest.fixture(autouse=True)
def _fake(fake_drawing: ModuleType) -> None:
    """The drawing of ApolloScape's classes has tests of its own."""


def _draw(out: Path, name: str, count: int = 10, seed: int = 0) -> tuple[DrawOrder, ScenesSettings]:
    order = draw_order(name, count, seed, *SMALL[name])
    draw_data_set(out, name, order)
    return order, ScenesSettings.model_validate({"dataset": name, "root": str(out), "height": 32, "width": 64})


@pytest.mark.parametrize("name", sorted(FORMATS))
@pytest.mark.parametrize("count", [3, 7])
def test_each_reader_reads_all_scenes_and_three_splits(tmp_path: Path, name: str, count: int) -> None:
    _, settings = _draw(tmp_path / "out", name, count)
    sets = {split: open_scenes(settings, split) for split in SPLITS}
    assert sum(map(len, sets.values())) == count
    groups = [set(found.groups) for found in sets.values()]
    assert all(groups)
    assert sum(map(len, groups)) == len(set.union(*groups))
    for found in sets.values():
        check_scenes(found)


@pytest.mark.parametrize("name", ["apolloscape", "folder"])
def test_palette_layouts_give_the_drawn_labels(tmp_path: Path, name: str, fake_drawing: ModuleType) -> None:
    order, settings = _draw(tmp_path / "out", name)
    source = SOURCES[name](settings)
    wanted = {}
    for index in range(10):
        labels = fake_drawing.draw_scene(order.seed, index, order.height, order.width)[1]
        wanted[labels.tobytes()] = index
    found = {source.load(index)[1].tobytes() for index in range(10)}
    assert found == set(wanted)
    assert len(found) == 10
    assert [row[:2] for row in source.classes] == [row[:2] for row in label_tables.apolloscape_classes()]


def test_culane_gives_the_drawn_labels_flags_and_lanes(tmp_path: Path) -> None:
    order, settings = _draw(tmp_path / "out", "culane", 18)
    source = CulaneScenes(settings)
    assert [scene.name for scene in source.scenes] == sorted(scene.name for scene in source.scenes)
    for index in range(18):
        drawn = draw_culane_scene(order, index)
        labels = source.load(index)[1]
        np.testing.assert_array_equal(labels, drawn.labels)
        present = tuple(label in labels for label in (1, 2, 3, 4))
        assert source.existence(index) in (None, present)
        lanes = read_lanes(tmp_path / "out" / lanes_name(f"{source.scenes[index].name}.jpg"))
        assert len(lanes) == len(drawn.lanes)
        for read, label in zip(lanes, sorted(drawn.lanes), strict=True):
            np.testing.assert_array_equal(read, drawn.lanes[label])
            # A lane's points lie on its own stroke (or one that crosses it, or outside the frame).
            inside = [(int(x), int(y)) for x, y in read if 0 <= x < order.width - 1 and 0 <= y < order.height]
            assert all(labels[y, x] > 0 for x, y in inside)


def test_drawn_culane_lanes_are_numbered_by_slope(tmp_path: Path) -> None:
    """On straight roads the rule for masks that are missing finds the classes that were drawn."""
    order = draw_order("culane", 100, 1, None, None)
    for index in range(0, 100, 9):
        lanes = draw_culane_scene(order, index).lanes
        numbered = number_lanes(list(lanes.values()))
        assert set(numbered) == set(lanes)
        assert all(np.array_equal(numbered[label], lanes[label]) for label in lanes)


def test_drawn_culane_truth_scores_perfectly(tmp_path: Path) -> None:
    order = draw_order("culane", 9, 2, None, None)
    for index in range(9):
        lanes = list(draw_culane_scene(order, index).lanes.values())
        assert count_frame(lanes, lanes) == (len(lanes), 0, 0)


def test_scenarios_are_the_official_lists_and_split_the_test_frames(tmp_path: Path) -> None:
    assert list(SCENARIOS) == [
        OFFICIAL_SCENARIOS[key]
        for key in ("normal", "crowd", "hlight", "shadow", "noline", "arrow", "curve", "cross", "night")
    ]
    _draw(tmp_path / "out", "culane", 45)
    lists = tmp_path / "out" / "list"
    listed = [read_frame_list(lists / "test_split" / name) for name in SCENARIOS]
    assert sorted(chain.from_iterable(listed)) == sorted(read_frame_list(lists / "test.txt"))
    for name in read_frame_list(lists / "test_split" / "test7_cross.txt"):
        assert read_lanes(tmp_path / "out" / lanes_name(name)) == []
    assert len(read_frame_list(lists / "train.txt")) == 27


def test_llamas_images_show_paint_exactly_at_the_markers(tmp_path: Path) -> None:
    _, settings = _draw(tmp_path / "out", "llamas", 5)
    for classes in ("fine", "category"):
        source = LlamasScenes(settings.model_copy(update={"classes": classes}))
        for index in range(5):
            image, labels = source.load(index)
            assert set(np.unique(labels).tolist()) <= set(range(len(source.classes)))
            marked = cv2.erode((labels > 0).astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
            around = cv2.dilate((labels > 0).astype(np.uint8), np.ones((21, 21), np.uint8)).astype(bool)
            below = np.arange(717)[:, None] > 420
            beside = around & ~cv2.dilate((labels > 0).astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool) & below
            assert marked.any()
            assert np.median(image[marked].mean(axis=1)) > 1.3 * np.median(image[beside].mean(axis=1))


@pytest.mark.parametrize("name", ["culane", "llamas"])
def test_scenes_follow_seed_and_number_alone(tmp_path: Path, name: str) -> None:
    settings = [_draw(tmp_path / f"{count}-{seed}", name, count, seed)[1] for count, seed in ((3, 0), (4, 0), (3, 1))]
    few, more, other = ([SOURCES[name](each).load(index) for index in range(3)] for each in settings)
    for one, same in zip(few, more, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a[0], b[0]) for a, b in zip(few, other, strict=True))


def test_a_drawn_folder_is_replaced_only_when_asked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    _draw(out, "folder")
    order = draw_order("folder", 4, 1, 32, 32)
    with pytest.raises(StorageError, match=r"must be a new or empty folder, found drawn scenes; add --overwrite"):
        draw_data_set(out, "folder", order)
    draw_data_set(out, "folder", order, overwrite=True)
    assert len(list((out / "images").iterdir())) == 4
    assert json.loads((out / RECORD).read_text()) == {
        "format": "folder",
        "num_scenes": 4,
        "seed": 1,
        "height": 32,
        "width": 32,
    }


def test_nothing_of_the_users_is_ever_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for out in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(StorageError, match="or one that was drawn"):
            draw_data_set(out, "folder", draw_order("folder", 3, 0, 32, 32), overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    places = {
        str(tmp_path / "notes.txt/sub"): "must be writable as a folder, found File exists \\(.*notes.txt\\)",
        "/proc/x": "must be writable as a folder",
        "n" * 300: "must be writable as a folder, found File name too long",
        ".": "must not be the folder you are in",
        "..": "must not be the folder you are in",
    }
    for place, message in places.items():
        with pytest.raises(StorageError, match=message):
            draw_data_set(Path(place), "folder", draw_order("folder", 3, 0, 32, 32), overwrite=True)
    assert list((tmp_path / "here").iterdir()) == []


def test_a_failed_drawing_leaves_nothing(tmp_path: Path, fake_drawing: ModuleType) -> None:
    draw = fake_drawing.draw_scene

    def fails(seed: int, index: int, height: int, width: int) -> object:
        if index == 3:
            raise MemoryError
        return draw(seed, index, height, width)

    fake_drawing.draw_scene = fails  # type: ignore[attr-defined]
    with pytest.raises(MemoryError):
        draw_data_set(tmp_path / "out", "folder", draw_order("folder", 5, 0, 32, 32))
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_every_scene(tmp_path: Path) -> None:
    steps: list[int] = []
    draw_data_set(tmp_path / "out", "folder", draw_order("folder", 5, 0, 32, 32), progress=steps.append)
    assert steps == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tusimple", 5, 0, None, None), "--format: unknown format, found 'tusimple'; known: apolloscape, culane"),
        (("folder", 2, 0, None, None), "--count: must be at least 3"),
        (("llamas", 5, 0, 384, None), "--height, --width: llamas frames are 1276 x 717, found 1276 x 384"),
        (("folder", 5, 0, 16, None), "--height, --width: must be at least 32, found 416 x 16"),
        (("folder", 5, 0, 0, None), "--height, --width: must be at least 32, found 416 x 0"),
        (("folder", 5, 0, None, 0), "--height, --width: must be at least 32, found 0 x 160"),
    ],
)
def test_orders_that_cannot_be_met(arguments: tuple[str, int, int, int | None, int | None], message: str) -> None:
    with pytest.raises(SettingError) as caught:
        draw_order(*arguments)
    assert message in str(caught.value)
    assert isinstance(caught.value, IntraSearchError)


@pytest.mark.parametrize("count", [3, 4, 5, 9, 100, 1234])
def test_recordings_are_runs_and_every_split_has_one(count: int) -> None:
    order = DrawOrder(count, 0, 32, 32)
    recordings = [order.recording(index) for index in range(count)]
    assert recordings == sorted(recordings)
    assert set(recordings) == set(range(order.num_recordings))
    splits = [order.split(index) for index in range(count)]
    assert [split for index, split in enumerate(splits) if split not in splits[:index]] == ["train", "val", "test"]
