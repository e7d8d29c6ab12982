"""A split as trainings see it: the same rules for every data set of the table."""

import pickle
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from intra_search.config.scenes import ScenesSettings
from intra_search.errors import IntraSearchError, SceneError, SettingError
from intra_search.scenes.check import check_scenes
from intra_search.scenes.scene_set import SceneSet, open_scenes
from intra_search.scenes.source import SPLITS
from intra_search.scenes.sources import SOURCES
from intra_search.scenes.views import View, draw_view, training_base, view_generator

RECIPE = {"scale": (0.7, 1.5), "rotation": 8.0, "colour": 0.2, "flip": True}


@pytest.fixture(params=sorted(SOURCES))
def settings(request: pytest.FixtureRequest, fake_drawing: ModuleType) -> ScenesSettings:
    """Settings of each data set of the table, tiny."""
    if request.param == "synthetic":
        return ScenesSettings(height=32, width=64, num_train=4, num_val=2, num_test=2)
    found = request.getfixturevalue(f"{request.param}_settings")
    assert isinstance(found, ScenesSettings)
    return found


def _with(settings: ScenesSettings, **changes: object) -> ScenesSettings:
    return ScenesSettings.model_validate(settings.model_dump() | changes)


def _same(one: View, other: View) -> bool:
    return torch.equal(one.image, other.image) and torch.equal(one.labels, other.labels)


def test_every_scene_is_in_one_split_and_groups_stay_whole(settings: ScenesSettings) -> None:
    sets = {split: open_scenes(settings, split) for split in SPLITS}
    names = [name for found in sets.values() for name in found.names]
    assert len(names) == len(set(names)) == len(SOURCES[settings.dataset](settings).scenes)
    groups = [group for found in sets.values() for group in set(found.groups)]
    assert len(groups) == len(set(groups))
    assert all(len(found) == len(found.names) == len(found.groups) > 0 for found in sets.values())


@pytest.mark.parametrize("classes", ["fine", "category"])
@pytest.mark.parametrize("ignored_class", [False, True])
def test_labels_are_classes_or_ignored(settings: ScenesSettings, classes: str, ignored_class: bool) -> None:
    settings = _with(settings, classes=classes, ignored_class=ignored_class)
    scenes = open_scenes(settings, "train")
    allowed = set(range(len(scenes.classes))) | (set() if ignored_class else {255})
    for index in range(len(scenes)):
        view = scenes.evaluation(index)
        assert set(view.labels.unique().tolist()) <= allowed
        assert set(np.unique(scenes.load(index)[1]).tolist()) <= allowed
        assert (view.image.shape, view.labels.shape) == (
            (3, settings.height, settings.width),
            (settings.height, settings.width),
        )


def test_cached_and_uncached_views_are_the_same_bits(settings: ScenesSettings) -> None:
    recipe = RECIPE if settings.dataset != "folder" else RECIPE | {"flip": False}
    for augment in ({}, recipe):
        cached = open_scenes(_with(settings, augment=augment, cache=True), "train")
        uncached = open_scenes(_with(settings, augment=augment, cache=False), "train")
        for index in range(2):
            for view in (0, 1, 0):
                assert _same(cached.view(index, view, 5), uncached.view(index, view, 5))
                assert _same(cached.evaluation(index), uncached.evaluation(index))


@pytest.mark.parametrize("cache", [False, True])
def test_a_view_is_drawn_from_the_decoded_frame(apolloscape_settings: ScenesSettings, cache: bool) -> None:
    """Zooms show the frame's own pixels: the base is larger than the network's size, and stays so in the cache."""
    augment = RECIPE | {"flip": False}
    settings = _with(apolloscape_settings, width=32, augment=augment, cache=cache)
    scenes = open_scenes(settings, "train")
    image, labels = scenes.load(1)
    base = training_base(image, labels, settings, 0)
    assert tuple(base.labels.shape) == (32, 48)
    for number in range(3):
        wanted = draw_view(base, settings, None, view_generator(7, 1, number))
        scenes.evaluation(1)
        assert _same(scenes.view(1, number, 7), wanted)


def test_evaluation_is_the_same_with_any_recipe(settings: ScenesSettings) -> None:
    plain = open_scenes(settings, "val")
    altered = open_scenes(_with(settings, augment=RECIPE | {"flip": False}), "val")
    altered.view(0, 0, 0)
    assert _same(plain.evaluation(0), altered.evaluation(0))
    assert _same(plain.evaluation(0), plain.view(0, 3, 1))


def test_views_differ_by_seed_scene_and_number(settings: ScenesSettings) -> None:
    scenes = open_scenes(_with(settings, augment={"rotation": 10.0, "colour": 0.5}), "train")
    first = scenes.view(0, 0, 0)
    assert not any(_same(first, other) for other in (scenes.view(0, 1, 0), scenes.view(0, 0, 1), scenes.view(1, 0, 0)))


def test_a_pickled_set_gives_the_same_views_and_leaves_its_cache(settings: ScenesSettings) -> None:
    scenes = open_scenes(_with(settings, height=320, width=320), "train")
    view = scenes.view(0, 0, 0)
    content = pickle.dumps(scenes)
    assert len(content) < 100_000  # one cached scene has 400 kB
    copy = pickle.loads(content)
    assert isinstance(copy, SceneSet)
    assert _same(view, copy.view(0, 0, 0))
    assert copy.fingerprint == scenes.fingerprint


def test_writing_to_a_view_harms_no_later_one(settings: ScenesSettings) -> None:
    scenes = open_scenes(settings, "train")
    kept = View(*(part.clone() for part in scenes.evaluation(0)))
    for view in (scenes.evaluation(0), scenes.view(0, 0, 0)):
        view.image.zero_()
        view.labels.fill_(7)
    assert _same(kept, scenes.evaluation(0))


def test_scenes_are_decoded_once_on_a_machine_and_not_beyond_the_room(
    settings: ScenesSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[int] = []
    load = SceneSet.load

    def noting(scenes: SceneSet, index: int) -> Any:
        loads.append(index)
        return load(scenes, index)

    monkeypatch.setattr(SceneSet, "load", noting)
    monkeypatch.setenv("INTRA_SEARCH_CACHE", str(tmp_path / "cache"))
    for _ in range(2):  # the second set, as in another process, finds what the first one cached
        scenes = open_scenes(settings, "train")
        for index in (0, 1, 0):
            scenes.evaluation(index)
            scenes.view(index, 0, 0)
    assert loads == [0, 1]
    loads.clear()
    uncached = open_scenes(_with(settings, cache=False), "train")
    uncached.evaluation(0)
    uncached.evaluation(0)
    assert loads == [0, 0]
    loads.clear()
    monkeypatch.setenv("INTRA_SEARCH_CACHE", str(tmp_path / "small"))
    monkeypatch.setenv("INTRA_SEARCH_CACHE_GB", "0")
    full = open_scenes(settings, "train")
    full.evaluation(0)
    full.evaluation(0)
    assert loads == [0, 0]


def test_kept_scenes_are_those_of_size_crop_and_classes(
    settings: ScenesSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTRA_SEARCH_CACHE", str(tmp_path))
    changes: list[dict[str, object]] = [
        {},
        {"height": 64},
        {"crop_top": 0.25},
        {"classes": "category"},
        {"ignored_class": True},
        {"augment": {"scale": (1.0, 1.5)}},
    ]
    for change in changes:
        kept, decoded = (open_scenes(_with(settings, cache=cache, **change), "train") for cache in (True, False))
        for _ in range(2):
            assert _same(kept.view(1, 3, 0), decoded.view(1, 3, 0))
    folders = [path for path in (tmp_path / "scenes").iterdir() if path.is_dir()]
    assert len(folders) == len(changes)


def test_fingerprint_is_of_the_data_set_and_not_of_the_split(settings: ScenesSettings) -> None:
    fingerprint = open_scenes(settings, "train").fingerprint
    assert len(fingerprint) == 64
    assert fingerprint == open_scenes(_with(settings, augment={"colour": 0.1}, cache=False), "test").fingerprint
    assert fingerprint != open_scenes(_with(settings, classes="category"), "train").fingerprint
    assert fingerprint != open_scenes(_with(settings, ignored_class=True), "train").fingerprint


def test_fingerprint_sees_a_replaced_image(folder_settings: ScenesSettings, folder_root: Path) -> None:
    before = open_scenes(folder_settings, "train").fingerprint
    Image.new("RGB", (40, 24)).save(folder_root / "images" / "f5.png")
    assert open_scenes(folder_settings, "train").fingerprint != before


@pytest.mark.parametrize(
    ("classes", "rows"),
    [
        ("category", "0,road,void,\n1,left,side,right\n2,right,void,left\n"),  # a class goes to another category
        ("fine", "0,road,void,\n1,left,side,\n2,right,side,\n"),  # arrows are no longer swapped in a mirror
    ],
)
def test_fingerprint_sees_what_labels_become(
    folder_settings: ScenesSettings, folder_root: Path, classes: Any, rows: str
) -> None:
    """Names and files stay the same, but a cached scene or a stored answer would belong to the old labels."""
    settings = _with(folder_settings, classes=classes)
    before = open_scenes(settings, "train")
    (folder_root / "classes.csv").write_text(f"index,name,category,swap\n{rows}")
    after = open_scenes(settings, "train")
    assert after.fingerprint != before.fingerprint
    if classes == "fine":
        assert [row.name for row in after.classes] == [row.name for row in before.classes]


def test_fingerprint_sees_another_grouping(folder_settings: ScenesSettings, folder_root: Path) -> None:
    before = open_scenes(folder_settings, "train").fingerprint
    path = folder_root / "groups.csv"
    path.write_text(path.read_text().replace("f0,video0", "f0,video1"))
    assert open_scenes(folder_settings, "train").fingerprint != before


def test_more_drawn_scenes_keep_the_old_ones(fake_drawing: ModuleType) -> None:
    small = ScenesSettings(height=32, width=64, num_train=3, num_val=2, num_test=2)
    large = _with(small, num_train=9)
    for split in SPLITS:
        one, other = open_scenes(small, split), open_scenes(large, split)
        assert other.names[: len(one)] == one.names
        assert all(_same(one.view(i, 0, 0), other.view(i, 0, 0)) for i in range(len(one)))


def test_crop_top_cuts_a_share_or_the_papers_rows(apolloscape_settings: ScenesSettings) -> None:
    """Frames are 64 x 32: the paper keeps 64 * 1010 / 3384 = 19 rows, so it cuts 13; half cuts 16. Row 0 holds ids."""
    assert 1 in open_scenes(apolloscape_settings, "train").evaluation(0).labels
    for crop_top in ("paper", 0.5, 13 / 32):
        scenes = open_scenes(_with(apolloscape_settings, crop_top=crop_top), "train")
        assert scenes.evaluation(0).labels.max() == 0
    by_paper, by_share = (
        open_scenes(_with(apolloscape_settings, crop_top=crop_top), "train").evaluation(0)
        for crop_top in ("paper", 13 / 32)
    )
    assert _same(by_paper, by_share)


def test_paper_crop_of_a_data_set_without_one_is_refused_on_opening(folder_settings: ScenesSettings) -> None:
    with pytest.raises(SettingError, match=r"scenes\.crop_top: 'paper'"):
        open_scenes(_with(folder_settings, crop_top="paper"), "train")


def test_a_crop_that_leaves_nothing_names_the_frame(folder_settings: ScenesSettings) -> None:
    scenes = open_scenes(_with(folder_settings, crop_top=0.99), "train")
    with pytest.raises(SceneError, match=r"f\d: crop_top must leave rows of every frame, found 24 of 24 rows cut"):
        scenes.evaluation(0)


def test_flip_without_a_table_is_refused(folder_settings: ScenesSettings, folder_root: Path) -> None:
    (folder_root / "classes.csv").write_text("index,name\n0,road\n1,left\n2,right\n")
    with pytest.raises(SettingError, match=r"scenes\.augment\.flip: .*swap column"):
        open_scenes(_with(folder_settings, augment={"flip": True}), "train")


def test_flip_swaps_the_folders_classes(folder_settings: ScenesSettings) -> None:
    settings = _with(folder_settings, augment={"flip": True}, height=32, width=40, val_groups=("video1",))
    scenes = open_scenes(_with(settings, test_groups=("video2",)), "train")
    number = scenes.names.index("f1")  # holds a block of class 1, left
    found = {tuple(scenes.view(number, view, 0).labels.unique().tolist()) for view in range(20)}
    assert found == {(0, 1, 255), (0, 2, 255)}


def test_flip_by_category_leaves_arrows_arrows(apolloscape_settings: ScenesSettings) -> None:
    scenes = open_scenes(_with(apolloscape_settings, classes="category", augment={"flip": True}), "train")
    kinds = {tuple(scenes.view(0, view, 0).labels.unique().tolist()) for view in range(20)}
    assert len(kinds) == 1


def test_category_without_categories_is_refused(folder_settings: ScenesSettings, folder_root: Path) -> None:
    (folder_root / "classes.csv").write_text("index,name\n0,road\n1,left\n2,right\n")
    with pytest.raises(SettingError, match=r"scenes\.classes: 'category' needs a category for every class"):
        open_scenes(_with(folder_settings, classes="category"), "train")


def test_check_reads_every_scene_once_and_tells_its_progress(settings: ScenesSettings) -> None:
    steps: list[tuple[int, int]] = []
    scenes = open_scenes(settings, "train")
    check_scenes(scenes, lambda done, total: steps.append((done, total)))
    assert steps == [(done, len(scenes)) for done in range(1, len(scenes) + 1)]


def _damage_image(root: Path) -> None:
    path = root / "images" / "f3.png"
    path.write_bytes(path.read_bytes()[:-200])


def _wrong_size(root: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(root / "masks" / "f3.png")


def _unknown_id(root: Path) -> None:
    Image.fromarray(np.full((24, 40), 9, np.uint8)).save(root / "masks" / "f3.png")


def _lost_mask(root: Path) -> None:
    (root / "masks" / "f3.png").unlink()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_damage_image, r"images/f3\.png: must be a whole image"),
        (_wrong_size, r"masks/f3\.png: a mask must be as large as its image"),
        (_unknown_id, r"masks/f3\.png: .* found id 9"),
        (_lost_mask, r"masks/f3\.png: must exist"),
    ],
)
def test_check_names_the_first_bad_scene(
    folder_settings: ScenesSettings, folder_root: Path, harm: Callable[[Path], None], message: str
) -> None:
    settings = _with(folder_settings, val_groups=("video0",), test_groups=("video2",))
    scenes = open_scenes(settings, "train")
    harm(folder_root)
    with pytest.raises(SceneError, match=message) as caught:
        check_scenes(scenes)
    assert "\n" not in str(caught.value)
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), IntraSearchError)
