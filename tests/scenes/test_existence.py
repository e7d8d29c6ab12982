"""Existence flags follow the scene, its flip, and nothing else."""

from types import ModuleType

import pytest
import torch

from intra_search.config.scenes import ScenesSettings
from intra_search.scenes.scene_set import open_scenes


def _with(settings: ScenesSettings, **changes: object) -> ScenesSettings:
    return ScenesSettings.model_validate(settings.model_dump() | changes)


def test_listed_flags(culane_settings: ScenesSettings) -> None:
    scenes = open_scenes(culane_settings, "train")
    assert scenes.num_lanes == 4
    assert scenes.existence(1).tolist() == [0, 1, 1, 0]
    assert scenes.existence(1).dtype == torch.float32


def test_flags_of_scenes_listed_without_are_read_from_the_labels(culane_settings: ScenesSettings) -> None:
    """The second test frame has no mask: its one lane is drawn as class 2."""
    scenes = open_scenes(culane_settings, "test")
    assert [scenes.existence(index).tolist() for index in range(3)] == [[0, 1, 1, 1], [0, 1, 0, 0], [1, 1, 1, 1]]


def test_a_flipped_view_has_flipped_flags(culane_settings: ScenesSettings) -> None:
    """Frame 4, far left lane missing: flags 0 1 1 1 become 1 1 1 0 exactly where the labels lose class 4."""
    scenes = open_scenes(_with(culane_settings, augment={"flip": True}), "test")
    flags = set()
    for view in range(12):
        labels = scenes.view(0, view, 3).labels
        shown = [float((labels == label).any()) for label in (1, 2, 3, 4)]
        assert scenes.existence(0, view, 3).tolist() == shown
        flags.add(tuple(shown))
    assert flags == {(0, 1, 1, 1), (1, 1, 1, 0)}
    assert scenes.existence(0).tolist() == [0, 1, 1, 1]


def test_a_crop_leaves_the_flags(culane_settings: ScenesSettings) -> None:
    scenes = open_scenes(_with(culane_settings, crop_top=0.9), "train")
    assert not scenes.view(0, 0, 0).labels.any()
    assert scenes.existence(0, 0, 0).tolist() == [1, 1, 1, 1]


def test_llamas_flags_are_of_its_lanes_with_markers(llamas_settings: ScenesSettings) -> None:
    scenes = open_scenes(llamas_settings, "train")
    labels = scenes.load(0)[1]
    assert scenes.existence(0).tolist() == [float(label in labels) for label in (1, 2, 3, 4)]


@pytest.mark.parametrize("dataset", ["culane", "llamas"])
def test_categories_have_no_lanes(dataset: str, request: pytest.FixtureRequest) -> None:
    settings = _with(request.getfixturevalue(f"{dataset}_settings"), classes="category")
    scenes = open_scenes(settings, "train")
    assert scenes.num_lanes == 0
    assert scenes.existence(0).shape == (0,)


def test_data_sets_without_lanes(
    folder_settings: ScenesSettings, apolloscape_settings: ScenesSettings, fake_drawing: ModuleType
) -> None:
    for settings in (folder_settings, apolloscape_settings, ScenesSettings(height=32, width=64)):
        assert open_scenes(settings, "train").num_lanes == 0
