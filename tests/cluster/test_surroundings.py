"""What Ray needs of the machine is checked, or put in place, before it starts."""

import os
from pathlib import Path

import pytest

from intra_search.cluster.surroundings import prepare
from intra_search.errors import ClusterError


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set here, or by `prepare`, is gone after the test."""
    for name in ("RAY_TMPDIR", "TMPDIR", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
def test_a_folder_whose_sockets_would_have_too_long_names(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "/tmp/" + "x" * 35)
    rule = f"{name} = /tmp/x*: must have at most 39 bytes, since Ray's sockets lie below, found 40; set RAY_TMPDIR to"
    with pytest.raises(ClusterError, match=rule):
        prepare()


def test_a_folder_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/dev/null/x")
    with pytest.raises(
        ClusterError, match="RAY_TMPDIR = /dev/null/x: must be a folder that can be written, found Not a"
    ):
        prepare()


@pytest.mark.parametrize("home", ["/dev/null", "/dev/null/x"])
def test_without_a_home_the_token_is_in_the_environment(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", home)
    prepare()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


def test_with_a_home_it_is_left_to_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    prepare()
    assert "RAY_AUTH_TOKEN" not in os.environ
