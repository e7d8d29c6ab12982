"""Errors cross process boundaries and read as one line."""

import importlib
import pickle
import pkgutil

import pytest

import intra_search
from intra_search.errors import IntraSearchError, StorageError

KINDS: list[type[IntraSearchError]] = [IntraSearchError, *IntraSearchError.__subclasses__()]


def test_errors_of_ours_are_defined_in_one_place() -> None:
    for module in pkgutil.walk_packages(intra_search.__path__, "intra_search."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
    assert [IntraSearchError, *IntraSearchError.__subclasses__()] == KINDS
    assert len(KINDS) >= 9
    assert not [child for kind in KINDS[1:] for child in kind.__subclasses__()]


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
