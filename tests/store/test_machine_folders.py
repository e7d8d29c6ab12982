"""Where files of this machine lie, with one name for all and without."""

import os
from pathlib import Path

import pytest

from intra_search.store.machine_folders import lasting_folder, local_folder


def test_one_folder_for_all_when_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("INTRA_SEARCH_CACHE", "~/here")
    assert lasting_folder() == local_folder() == tmp_path / "here"


def test_lasting_files_lie_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("INTRA_SEARCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert lasting_folder() == tmp_path / "xdg" / "intra-search"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert lasting_folder() == tmp_path / ".cache" / "intra-search"


def test_large_files_lie_in_the_temporary_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("INTRA_SEARCH_CACHE")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert local_folder() == tmp_path / f"intra-search-{os.getuid()}"


def test_without_a_known_home_lasting_files_lie_there_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("INTRA_SEARCH_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # a container's user id without a name
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert lasting_folder() == local_folder()
