"""Fingerprints name folders of studies that exist: each value here was computed by the first release, 53b70fb."""

from typing import Any, NamedTuple

import pytest

from intra_search.config.fingerprints import teacher_key, views_hash
from intra_search.config.hashing import json_hash
from intra_search.config.parsing import get_path, parse_settings, with_overrides
from intra_search.config.study import StudySettings
from intra_search.config.traits import Trait, all_settings, traits_of

SCENES = "f" * 64


class Case(NamedTuple):
    tree: dict[str, Any]
    teacher: str
    views: str


CASES = {
    "defaults": Case({}, "91d3cce254fc28d5", "8a6bbb9d7c68c20dd40abae3017d670d3a2bc4a08851cbe29a6a83a1c9e997d6"),
    "folder": Case(
        {
            "name": "x",
            "seed": 3,
            "scenes": {
                "dataset": "folder",
                "root": "/data/roads",
                "cache": False,
                "classes": "category",
                "height": 64,
                "width": 96,
                "val_groups": ["a"],
                "test_fraction": 0.2,
                "seed": 5,
                "augment": {"scale": [1.0, 1.3], "rotation": 3.0, "flip": True},
            },
            "teacher": {
                "network": "pspnet_resnet18",
                "options": {"head_channels": 8, "bins": [1, 2]},
                "init": "/checkpoints/start",
                "allow_weak": True,
                "training": {"epochs": 3, "optimizer": "adamw", "clip_gradient_norm": 1.5},
            },
        },
        "77fb85f838b3a2d8",
        "e3068d8f632cec354a11235d08529581eb0a422ab2cee74f6ccf2ccf9b5b243d",
    ),
    "drawn": Case(
        {
            "seed": 1,
            "scenes": {
                "num_train": 12,
                "num_val": 6,
                "num_test": 4,
                "crop_top": 0.35,
                "ignored_class": True,
                "views": 2,
            },
            "teacher": {"pretrained": "imagenet"},
            "knowledge": {"store": "/knowledge"},
            "training": {"epochs": 2},
        },
        "7b06aed65c43cf96",
        "25873a62fe2d26fb748f550045941ec81bb58b04c7dcfd756616dfc59a548e42",
    ),
    "fresh": Case(
        {
            "scenes": {"dataset": "culane", "root": "/data", "crop_top": "paper", "views": "fresh"},
            "teacher": {"checkpoint": "s3://bucket/teacher"},
        },
        "005f16f4afb69afe",
        "36c711d36e56653cda73426c5cf207a4639300438aca9ac8a01597aa03619150",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_fingerprints_are_those_of_the_first_release(case: Case) -> None:
    settings = parse_settings(case.tree)
    assert teacher_key(settings, SCENES) == case.teacher
    assert views_hash(settings) == case.views


OTHER_VALUES: dict[str, Any] = {
    "scenes.dataset": "culane",
    "scenes.classes": "category",
    "scenes.views": 3,
    "scenes.val_groups": ["a"],
    "scenes.test_groups": ["a"],
    "scenes.augment.scale": [1.0, 2.0],
    "teacher.network": "pspnet_resnet18",
    "teacher.options.bins": [1],
    "teacher.options.layout": "authors",
    "teacher.init": "/other",
    "teacher.pretrained": "imagenet",
    "teacher.checkpoint": "/other",
    "teacher.keep_epochs": [1],
    "teacher.training.optimizer": "adamw",
    "teacher.training.schedule_step": "epoch",
    "teacher.training.amp": "off",
    "teacher.training.clip_gradient_norm": 1.0,
    "knowledge.mode": "auto",
    "scenes.root": "/other",
    "scenes.unlabelled": ["/frames", "synthetic:10"],
    "scenes.pseudo_labels": 0.9,
    "knowledge.store": "/other",
}
BASE = parse_settings({"scenes": {"dataset": "folder", "root": "/data", "unlabelled": ["/frames"]}})


def other_value(path: str) -> Any:
    """A value that the setting does not have in `BASE`."""
    value = get_path(BASE, path)
    if path in OTHER_VALUES:
        return OTHER_VALUES[path]
    if isinstance(value, bool):
        return not value
    return value + 8 if isinstance(value, int) else value / 2 + 0.01


SHARED = [
    setting.path
    for setting in all_settings(StudySettings)
    if setting.path == "seed" or setting.path.startswith(("scenes.", "teacher.", "knowledge."))
]


@pytest.mark.parametrize("path", SHARED)
def test_each_setting_counts_in_the_fingerprints_that_its_traits_name(path: str) -> None:
    changed = with_overrides(BASE, {path: other_value(path)})
    assert get_path(changed, path) != get_path(BASE, path)
    traits = traits_of(StudySettings, path)
    of_the_teacher = not path.startswith("knowledge.") and Trait.CHANGEABLE not in traits
    assert (teacher_key(changed, SCENES) != teacher_key(BASE, SCENES)) == of_the_teacher
    assert (views_hash(changed) != views_hash(BASE)) == (Trait.OF_A_VIEW in traits)


def test_other_scenes_have_another_teacher() -> None:
    assert teacher_key(BASE, "e" * 64) != teacher_key(BASE, SCENES)


def test_a_hash_does_not_depend_on_the_order_of_keys() -> None:
    assert json_hash({"a": 1, "b": [2]}) == json_hash({"b": [2], "a": 1})
    # sha256 of the text [1, "a"], from coreutils.
    assert json_hash([1, "a"]) == "4a72386a027702c1f4fdf182d13b71437ba1606b177123eb73a11eb0bd2feeb8"
