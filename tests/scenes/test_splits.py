"""Splits keep groups whole, hold every scene once, and depend on the seed and the groups alone."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intra_search.config.scenes import ScenesSettings
from intra_search.errors import SceneError, SettingError
from intra_search.scenes.folder import FolderScenes
from intra_search.scenes.source import SPLITS, SceneName
from intra_search.scenes.splits import split_groups, split_scenes


def _scenes(**sizes: int) -> list[SceneName]:
    return [SceneName(f"{group}-{number}", group) for group, size in sizes.items() for number in range(size)]


def _settings(**changes: object) -> ScenesSettings:
    return ScenesSettings.model_validate({"dataset": "folder", "root": ".", **changes})


def test_named_groups_are_taken_as_named() -> None:
    groups = split_groups(_scenes(a=3, b=2, c=1, d=1), _settings(val_groups=("b",), test_groups=("d", "a")))
    assert groups == {"train": {"c"}, "val": {"b"}, "test": {"a", "d"}}


@given(
    sizes=st.lists(st.integers(1, 40), min_size=3, max_size=12),
    seed=st.integers(0, 1000),
    val=st.floats(0.01, 0.99),
    test=st.floats(0.01, 0.99),
)
def test_any_three_groups_can_be_split(sizes: list[int], seed: int, val: float, test: float) -> None:
    scenes = _scenes(**{f"g{number}": size for number, size in enumerate(sizes)})
    groups = split_groups(scenes, _settings(seed=seed, val_fraction=val, test_fraction=test))
    assert all(groups[split] for split in SPLITS)
    assert sorted(name for split in SPLITS for name in groups[split]) == sorted({scene.group for scene in scenes})
    assert groups == split_groups(scenes[::-1], _settings(seed=seed, val_fraction=val, test_fraction=test))


def test_shares_are_met_as_nearly_as_whole_groups_allow() -> None:
    scenes = _scenes(**{f"g{number:03d}": 1 for number in range(100)})
    groups = split_groups(scenes, _settings(val_fraction=0.15, test_fraction=0.2))
    assert {split: len(groups[split]) for split in SPLITS} == {"train": 65, "val": 15, "test": 20}


def test_a_group_far_larger_than_the_share_stays_in_train() -> None:
    for seed in range(20):
        groups = split_groups(_scenes(large=300, a=20, b=30, c=40), _settings(seed=seed))
        assert "large" in groups["train"]


def test_the_draw_is_the_same_on_every_machine() -> None:
    """Must never change: every study would get another validation set."""
    scenes = _scenes(**{f"video{number}": 10 for number in range(10)})
    first = split_groups(scenes, _settings(seed=0))
    assert (first["val"], first["test"]) == ({"video2"}, {"video5"})
    assert split_groups(scenes, _settings(seed=1)) != first


def test_val_drawn_beside_named_test_groups() -> None:
    groups = split_groups(_scenes(a=5, b=5, c=5), _settings(test_groups=("c",)))
    assert groups["test"] == {"c"}
    assert len(groups["val"]) == len(groups["train"]) == 1


def test_scenes_of_each_split_keep_their_order(folder_settings: ScenesSettings) -> None:
    settings = folder_settings.model_copy(update={"val_groups": ("video0",), "test_groups": ("video2",)})
    assert split_scenes(FolderScenes(settings), settings) == {"train": [2, 3], "val": [0, 1], "test": [4, 5]}


@pytest.mark.parametrize("field", ["val_groups", "test_groups"])
def test_unknown_group_lists_the_known(field: str) -> None:
    with pytest.raises(SceneError, match=rf"scenes\.{field}: .*found 'z'; groups of this data set: a, b, c"):
        split_groups(_scenes(a=1, b=1, c=1), _settings(**{field: ("z",)}))


def test_group_in_val_and_test() -> None:
    with pytest.raises(SettingError, match="no group may be in val and in test, found b"):
        split_groups(_scenes(a=1, b=1, c=1), _settings(val_groups=("b",), test_groups=("b", "a")))


def test_too_few_groups() -> None:
    with pytest.raises(SceneError, match=r"a group of their own, found 2 \(a, b\); add groups"):
        split_groups(_scenes(a=10, b=10), _settings())
    with pytest.raises(SceneError, match="a group of their own"):
        split_groups(_scenes(a=1, b=1, c=1), _settings(val_groups=("a", "b")))


def test_named_groups_that_leave_nothing_for_train(folder_settings: ScenesSettings) -> None:
    settings = folder_settings.model_copy(update={"val_groups": ("video0", "video1"), "test_groups": ("video2",)})
    with pytest.raises(SceneError, match="train must hold at least one scene, found none"):
        split_scenes(FolderScenes(settings), settings)


def test_many_groups_are_listed_in_one_short_line() -> None:
    with pytest.raises(SceneError, match="g119 and 100 more"):
        split_groups(_scenes(**{f"g{number}": 1 for number in range(100, 220)}), _settings(val_groups=("z",)))


def test_folder_of_one_image_cannot_be_split(folder_settings: ScenesSettings, folder_root: Path) -> None:
    for path in sorted((folder_root / "images").iterdir())[1:]:
        path.unlink()
    with pytest.raises(SceneError, match=r"found 1 \(video0\)"):
        split_scenes(FolderScenes(folder_settings), folder_settings)
