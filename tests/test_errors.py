"""Errors cross process boundaries and read as one line."""

import importlib
import pickle
import pkgutil

import pytest

import intra_search
from intra_search.errors import IntraSearchError, StorageError


def all_errors() -> list[type[IntraSearchError]]:
    for module in pkgutil.walk_packages(intra_search.__path__, "intra_search."):
        importlib.import_module(module.name)
    found, fresh = [IntraSearchError], [IntraSearchError]
    while fresh:
        fresh = [child for parent in fresh for child in parent.__subclasses__()]
        found += fresh
    return found


def test_there_are_errors_of_every_room() -> None:
    assert len(all_errors()) >= 9


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_survives_pickling_with_all_its_parts(kind: type[IntraSearchError]) -> None:
    error = kind("study.toml", "must exist", 3, "check the path")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (again.where, again.rule, again.found, again.remedy) == ("study.toml", "must exist", 3, "check the path")
    assert str(again) == str(error) == "study.toml: must exist, found 3; check the path"


def test_prints_one_line_whatever_it_holds() -> None:
    error = StorageError("a\nb", "must\tbe one\r\nline", "first\nsecond", "join\n them")
    assert str(error) == "a b: must be one line, found first second; join them"
