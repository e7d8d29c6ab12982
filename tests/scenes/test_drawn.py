"""Drawn scenes as a data set. The drawing itself is replaced; it has tests of its own."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from intra_search.config.scenes import ScenesSettings
from intra_search.errors import SettingError
from intra_search.scenes.drawn import DrawnScenes
from intra_search.scenes.splits import split_scenes


def _settings(**changes: object) -> ScenesSettings:
    tree = {"height": 32, "width": 64, "num_train": 4, "num_val": 3, "num_test": 2}
    return ScenesSettings.model_validate(tree | changes)


def _drawn_numbers(settings: ScenesSettings, module: ModuleType) -> dict[str, list[int]]:
    """Numbers that each split asks the drawing for."""
    asked: list[int] = []
    draw = module.draw_scene

    def noting(seed: int, index: int, *size: int) -> Any:
        asked.append(index)
        return draw(seed, index, *size)

    module.draw_scene = noting  # type: ignore[attr-defined]
    source = DrawnScenes(settings)
    numbers = {}
    for split, indices in split_scenes(source, settings).items():
        for index in indices:
            source.load(index)
        numbers[split] = asked.copy()
        asked.clear()
    module.draw_scene = draw  # type: ignore[attr-defined]
    return {str(split): found for split, found in numbers.items()}


def test_splits_share_no_scene_and_stay_when_train_grows(fake_drawing: ModuleType) -> None:
    small = _drawn_numbers(_settings(), fake_drawing)
    assert small == {"train": [0, 3, 6, 9], "val": [1, 4, 7], "test": [2, 5]}
    large = _drawn_numbers(_settings(num_train=50), fake_drawing)
    assert large["train"][:4] == small["train"]
    assert (large["val"], large["test"]) == (small["val"], small["test"])
    assert not set(large["train"]) & {*large["val"], *large["test"]}


@pytest.mark.usefixtures("fake_drawing")
def test_scenes_follow_the_seed() -> None:
    one, same, other = (DrawnScenes(_settings(seed=seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one.load(5), same.load(5), strict=True))
    assert not np.array_equal(one.load(5)[0], other.load(5)[0])
    assert one.load(0)[0].shape == (32, 64, 3)


@pytest.mark.usefixtures("fake_drawing")
def test_signature_follows_seed_and_drawing(fake_drawing: ModuleType) -> None:
    signature = DrawnScenes(_settings()).signature()
    assert signature == DrawnScenes(_settings(num_train=9)).signature()
    assert signature != DrawnScenes(_settings(seed=1)).signature()
    draw = fake_drawing.draw_scene
    fake_drawing.draw_scene = lambda *which: (draw(*which)[0] ^ 1, draw(*which)[1])  # type: ignore[attr-defined]
    assert signature != DrawnScenes(_settings()).signature()


def test_names_are_unique_and_say_their_split() -> None:
    source = DrawnScenes(_settings())
    assert source.scenes[0] == ("train-000000", "train")
    assert source.scenes[-1] == ("test-000001", "test")
    assert len({scene.name for scene in source.scenes}) == 9


@pytest.mark.parametrize("field", ["val_groups", "test_groups"])
def test_groups_have_no_meaning(field: str) -> None:
    with pytest.raises(SettingError, match=rf"scenes\.{field}: has no meaning for drawn scenes, found a, b"):
        DrawnScenes(_settings(**{field: ("a", "b")}))


def test_there_is_no_paper_crop() -> None:
    with pytest.raises(SettingError, match=r"scenes\.crop_top"):
        DrawnScenes(_settings()).paper_crop_top(100, 100)
