"""Errors cross process boundaries and read as one line."""

import importlib
import pickle
import pkgutil

import pytest

import intra_search
from intra_search.errors import IntraSearchError, StorageError


def kinds_of(kind: type[IntraSearchError]) -> list[type[IntraSearchError]]:
    """A kind of error and all below it, without the classes that Ray makes for a task's error on the way."""
    children = [child for child in kind.__subclasses__() if not child.__module__.startswith("ray.")]
    return [kind, *(below for child in children for below in kinds_of(child))]


KINDS = kinds_of(IntraSearchError)


def test_errors_of_ours_are_defined_in_one_place() -> None:
    for module in pkgutil.walk_packages(intra_search.__path__, "intra_search."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
    assert kinds_of(IntraSearchError) == KINDS
    assert len(KINDS) >= 11
    assert {kind.__module__ for kind in KINDS} == {"intra_search.errors"}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_survives_pickling_with_all_its_parts(kind: type[IntraSearchError]) -> None:
    error = kind("study.toml", "must exist", 3, "check the path")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (again.where, again.rule, again.found, again.remedy) == ("study.toml", "must exist", 3, "check the path")
    assert str(again) == str(error) == "study.toml: must exist, found 3; check the path"


def test_prints_one_line_whatever_it_holds() -> None:
    error = StorageError("a\nb", "must\tbe one\r\nline", "first\nsecond", "join\n them")
    assert str(error) == "a b: must be one line, found first second; join them"


def test_what_could_steer_a_terminal_is_escaped() -> None:
    error = StorageError("\x1b[2Ja", "must be \x9bplain", "\u202e\ud800\x00", "ü — 道")
    assert str(error) == "\\x1b[2Ja: must be \\x9bplain, found \\u202e\\ud800\\x00; ü — 道"


def test_a_long_part_is_cut_in_its_middle() -> None:
    text = str(StorageError("a" * 100_000, "must be short", "<" + "b" * 100_000 + ">", "cut it"))
    assert len(text) < 1000
    assert "must be short, found <bbb" in text
    assert "99,602 characters left out" in text
    assert text.endswith("bbb>; cut it")
