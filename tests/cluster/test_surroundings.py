"""What Ray needs of the machine is checked, or put in place, before it starts."""

import os
import shutil
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest

from intra_search.cluster.surroundings import _threads_of, check_shared_memory, prepare
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


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    disk_usage = shutil.disk_usage("/tmp")._replace(free=400_000)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: disk_usage)
    with pytest.raises(ClusterError, match=r"RAY_TMPDIR = /tmp: must have 64.0 MiB free, .* found 0.4 MiB; free some"):
        prepare()


@pytest.mark.parametrize(("most", "refused"), [("100", True), ("max", False), ("1000000", False)])
def test_a_container_without_processes_left(
    most: str, refused: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "pids.max").write_text(f"{most}\n")
    (tmp_path / "pids.current").write_text("90\n")
    monkeypatch.setattr("intra_search.cluster.surroundings.CGROUP", tmp_path)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    rule = r"the container's limit of processes: must leave Ray 230 .* found 10 left of 100; raise it: docker run"
    with pytest.raises(ClusterError, match=rule) if refused else nullcontext():
        prepare()


@pytest.mark.parametrize(("user", "refused"), [(os.getuid() or 1, True), (0, False)])
def test_a_user_without_processes_left(user: int, refused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: user)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("resource.getrlimit", lambda limit: (3, 3))
    with pytest.raises(ClusterError, match="ulimit -u: must leave Ray 230") if refused else nullcontext():
        prepare()


def test_threads_are_counted() -> None:
    """This process has at least its own thread and one more."""
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    with_thread = _threads_of(os.getuid())
    stop.set()
    thread.join()
    assert with_thread >= 2


def test_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    check_shared_memory(0)
    check_shared_memory(1)
    with pytest.raises(ClusterError, match=r"resources.loader_processes: needs [\d,.]+ MiB of shared memory"):
        check_shared_memory(2**60)
