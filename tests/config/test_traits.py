"""What settings may do: what is declared, how groups hand it down, and what a fingerprint leaves out."""

from types import NoneType
from typing import Annotated, get_args

import pytest
from pydantic import Field

from intra_search.config.base import Settings
from intra_search.config.student import StudentSettings
from intra_search.config.study import StudySettings
from intra_search.config.traits import Trait, all_settings, fingerprint_tree, paths_with, traits_of

PATHS = [setting.path for setting in all_settings(StudySettings)]

# What each room of the first release listed for itself; a path ending in "." stood for all below it.
CHANGEABLE = (
    "search.",
    "resources.",
    "name",
    "scenes.cache",
    "scenes.root",
    "scenes.unlabelled",
    "teacher.allow_weak",
    "teacher.keep_epochs",
    "knowledge.store",
    "knowledge.node_cache_gb",
)
NEVER_SEARCHED = (
    "name",
    "seed",
    "search.",
    "resources.",
    "teacher.",
    "scenes.",
    "knowledge.",
    "training.batch_size",
    "training.epochs",
)
ANSWERED_ONCE = ("teacher.", "scenes.", "knowledge.", "seed")
PATH_SETTINGS = (
    "scenes.root",
    "scenes.unlabelled",
    "teacher.init",
    "teacher.checkpoint",
    "student.init",
    "knowledge.store",
)
NOT_OF_A_VIEW = (
    "scenes.dataset",
    "scenes.root",
    "scenes.num_train",
    "scenes.num_val",
    "scenes.num_test",
    "scenes.val_groups",
    "scenes.test_groups",
    "scenes.val_fraction",
    "scenes.test_fraction",
    "scenes.seed",
    "scenes.cache",
    "scenes.unlabelled",
    "scenes.unlabelled_share",
    "scenes.pseudo_labels",
)


def listed(entries: tuple[str, ...]) -> set[str]:
    groups = tuple(entry for entry in entries if entry.endswith("."))
    return {path for path in PATHS if path in entries or path.startswith(groups)}


@pytest.mark.parametrize(
    ("trait", "expected"),
    [
        (Trait.CHANGEABLE, listed(CHANGEABLE)),
        (
            Trait.LOCAL,
            {"scenes.root", "scenes.unlabelled", "scenes.cache", "knowledge.store", "knowledge.node_cache_gb"},
        ),
        (Trait.ONE_FOR_ALL_TRIALS, listed(NEVER_SEARCHED)),
        (Trait.ANSWERED_ONCE, listed(ANSWERED_ONCE)),
        (Trait.A_PATH, set(PATH_SETTINGS)),
        (Trait.OF_A_VIEW, {"seed", *(listed(("scenes.",)) - set(NOT_OF_A_VIEW))}),
        (
            Trait.ADDED_LATER,
            {
                "teacher.options.width",
                "teacher.keep_epochs",
                "scenes.unlabelled",
                "scenes.unlabelled_share",
                "scenes.pseudo_labels",
            },
        ),
    ],
)
def test_traits_say_what_the_lists_said(trait: Trait, expected: set[str]) -> None:
    assert set(paths_with(StudySettings, trait)) == expected


def test_what_is_local_to_a_machine_may_change_and_is_in_no_fingerprint() -> None:
    for path in paths_with(StudySettings, Trait.LOCAL):
        assert Trait.CHANGEABLE in traits_of(StudySettings, path)


def test_the_lists_named_settings_that_exist() -> None:
    assert len(PATHS) == len(set(PATHS)) > 100
    for entries in (CHANGEABLE, NEVER_SEARCHED, ANSWERED_ONCE, PATH_SETTINGS, NOT_OF_A_VIEW):
        assert all(listed((entry,)) for entry in entries)


@pytest.mark.parametrize("trait", [trait for trait in Trait if trait is not Trait.ADDED_LATER])
def test_every_trait_is_declared_somewhere(trait: Trait) -> None:
    assert paths_with(StudySettings, trait)


def test_only_settings_with_a_default_of_none_may_be_none() -> None:
    """A stored study has no line for None, and a line that is not there stands for the default."""
    optional = [setting for setting in all_settings(StudySettings) if NoneType in get_args(setting.field.annotation)]
    assert {"teacher.init", "training.clip_gradient_norm"} <= {setting.path for setting in optional}
    assert [setting.path for setting in optional if setting.field.get_default() is not None] == []


class Inner(Settings):
    plain: int = 1
    late: Annotated[int, Trait.ADDED_LATER] = Field(default=2, ge=0)
    changeable: Annotated[int, Trait.CHANGEABLE] = 3


class LateGroup(Settings):
    one: int = 1
    two: int = 2


class Outer(Settings):
    inner: Annotated[Inner, Trait.OF_A_VIEW] = Inner()
    other: Inner = Inner()
    group: Annotated[LateGroup, Trait.ADDED_LATER] = LateGroup()
    name: Annotated[str | None, Trait.A_PATH, Trait.CHANGEABLE] = None
    list: tuple[int, ...] = (1,)


def test_a_group_hands_its_traits_down() -> None:
    assert traits_of(Outer, "inner") == traits_of(Outer, "inner.plain") == {Trait.OF_A_VIEW}
    assert traits_of(Outer, "inner.late") == {Trait.OF_A_VIEW, Trait.ADDED_LATER}
    assert traits_of(Outer, "other.late") == traits_of(Outer, "group.two") == {Trait.ADDED_LATER}
    assert traits_of(Outer, "name") == {Trait.A_PATH, Trait.CHANGEABLE}
    assert paths_with(Outer, Trait.OF_A_VIEW) == ("inner.plain", "inner.late", "inner.changeable")


@pytest.mark.parametrize("path", ["other.plain", "list", "no_such", "inner.no_such", "name.x", "list.0"])
def test_a_new_setting_and_what_is_no_setting_have_no_trait(path: str) -> None:
    assert traits_of(Outer, path) == frozenset()


def test_a_fingerprint_leaves_out_what_may_change_and_what_was_added_later() -> None:
    tree = fingerprint_tree(Outer(), lambda traits: Trait.CHANGEABLE not in traits)
    assert tree == {"inner": {"plain": 1}, "other": {"plain": 1}, "list": [1]}
    used = Outer(other=Inner(late=5, changeable=9), group=LateGroup(two=7), name="x")
    tree = fingerprint_tree(used, lambda traits: Trait.CHANGEABLE not in traits)
    assert tree == {"inner": {"plain": 1}, "other": {"plain": 1, "late": 5}, "group": {"two": 7}, "list": [1]}
    assert fingerprint_tree(used, lambda traits: Trait.OF_A_VIEW in traits) == {"inner": {"plain": 1, "changeable": 3}}


def test_students_are_searched_and_fixed_once_a_study_has_begun() -> None:
    assert [path for path in PATHS if path.startswith("student.") and traits_of(StudySettings, path)] == [
        "student.init"
    ]
    assert not any(setting.traits - {Trait.A_PATH} for setting in all_settings(StudentSettings))
