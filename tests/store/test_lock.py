"""One driver per study: the owner is named, a killed owner frees it."""

import fcntl
import getpass
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyarrow import fs

from intra_search.errors import StorageError, StudyError
from intra_search.store import lock, mounts
from intra_search.store.lock import LEASE_SECONDS, lock_owner, study_lock
from intra_search.store.storage import Storage

HOLDS = """
import sys, time
from intra_search.store.lock import study_lock
from intra_search.store.storage import Storage
with study_lock(Storage(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_driver(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        assert process.stdout.readline() == b"held\n"
        yield process
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def test_another_process_is_refused_with_the_owners_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "FLOCK_SECONDS", 0.05)
    storage = Storage(tmp_path)
    with other_driver(tmp_path) as process:
        owner = lock_owner(storage)
        assert owner is not None
        assert owner["pid"] == process.pid
        with pytest.raises(
            StudyError, match=rf"one driver at a time, found \S+@\S+ \(pid {process.pid}, since"
        ) as caught:
            study_lock(storage).__enter__()
        assert "\n" not in str(caught.value)
        assert lock_owner(storage) == owner  # the refused one did not sign
    assert lock_owner(storage) is None
    with study_lock(storage):
        assert lock_owner(storage) is not None


def test_a_killed_owner_frees_the_lock(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    with other_driver(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert lock_owner(storage) is None
        with study_lock(storage):
            text = (tmp_path / "lock").read_text()
    assert json.loads(text)["pid"] == os.getpid()


def test_a_look_at_the_owner_never_keeps_a_driver_out(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    with study_lock(storage):
        pass
    stop = threading.Event()

    def looks() -> None:
        while not stop.is_set():
            lock_owner(storage)

    threads = [threading.Thread(target=looks) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(50):
            with study_lock(storage):
                pass
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_lock_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()  # for the superuser no file is unreadable
    with pytest.raises(StorageError, match="lock: must be a file that can be read, found Is a directory; mend"):
        lock_owner(Storage(tmp_path))


def test_no_study_has_no_owner(tmp_path: Path) -> None:
    assert lock_owner(Storage(tmp_path)) is None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="must be a writable folder"):
        study_lock(Storage(tmp_path / "file")).__enter__()


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", fails)
    with pytest.raises(StorageError, match="file locks, found Function not implemented"):
        study_lock(Storage(tmp_path)).__enter__()


def test_a_user_without_a_name_can_hold_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", nameless)
    with study_lock(Storage(tmp_path)):
        assert json.loads((tmp_path / "lock").read_text())["user"] == f"uid {os.getuid()}"


class Clock:
    """Stands for `time` in the lock: nothing waits."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.on_sleep = lambda: None

    def module(self) -> SimpleNamespace:
        def sleep(seconds: float) -> None:
            self.now += seconds
            self.on_sleep()

        return SimpleNamespace(time=lambda: self.now, monotonic=lambda: self.now, sleep=sleep, strftime=time.strftime)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lock, "time", clock.module())
    return clock


@pytest.fixture
def far(tmp_path: Path) -> Storage:
    """Storage that is not local, over a local folder."""
    storage = Storage(tmp_path)
    storage._fs, storage._root = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "study"
    return storage


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """A local path on what the table of mounts calls NFS."""
    table = tmp_path / "mounts"
    table.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/export {tmp_path / 'nfs'} nfs4 rw 0 0\n")
    monkeypatch.setattr(mounts, "TABLE", table)
    return Storage(tmp_path / "nfs" / "study")


def test_a_shared_folder_has_a_lease(shared: Storage, clock: Clock) -> None:
    """As object storage: its owner may be on another machine, where no lock of ours can be asked for."""
    with study_lock(shared):
        owner = lock_owner(shared)
        assert owner is not None
        assert owner["token"]
        with pytest.raises(StudyError, match=rf"pid {os.getpid()}.*--takeover"):
            study_lock(shared).__enter__()
        with study_lock(shared, takeover=True):
            taken = lock_owner(shared)
            assert taken is not None
            assert taken["token"] != owner["token"]
    assert lock_owner(shared) is None


def test_a_local_lock_cannot_be_taken_over(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="--takeover is for studies on shared or object storage, found a local folder"):
        study_lock(Storage(tmp_path / "study"), takeover=True)
    assert not (tmp_path / "study").exists()


def test_a_lease_is_held_named_and_given_back(far: Storage, clock: Clock) -> None:
    with study_lock(far):
        owner = lock_owner(far)
        assert owner is not None
        assert owner["pid"] == os.getpid()
        with pytest.raises(StudyError, match=rf"pid {os.getpid()}.*--takeover"):
            study_lock(far).__enter__()
    assert lock_owner(far) is None
    assert not far.exists("lock")


def test_a_lease_that_was_not_renewed_is_free(far: Storage, clock: Clock) -> None:
    far.write_json("lock", {"user": "a", "host": "b", "pid": 1, "since": "c", "token": "t", "renewed": clock.now})
    clock.now += LEASE_SECONDS - 1
    assert lock_owner(far) is not None
    clock.now += 1
    assert lock_owner(far) is None
    with study_lock(far):
        assert lock_owner(far) is not None


def test_takeover_ignores_a_lease_and_the_old_owner_leaves_it_alone(far: Storage, clock: Clock) -> None:
    with study_lock(far) as old:
        new = study_lock(far, takeover=True)
        new.__enter__()
        taken = far.read_bytes("lock")
        old.__exit__(None, None, None)
        assert far.read_bytes("lock") == taken
        new.__exit__(None, None, None)
    assert not far.exists("lock")


def test_of_two_that_start_at_once_the_last_writer_goes_on(far: Storage, clock: Clock) -> None:
    other = {"user": "a", "host": "b", "pid": 1, "since": "c", "token": "other", "renewed": clock.now}
    clock.on_sleep = lambda: far.write_json("lock", other)
    with pytest.raises(StudyError, match=r"a@b \(pid 1, since c\); another driver started at the same moment"):
        study_lock(far).__enter__()
    assert far.read_json("lock") == other


def test_a_lease_is_renewed_through_a_failing_write(far: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "LEASE_SECONDS", 0.04)
    write, failures = Storage.write_json, [StorageError("lock", "must be writable", "a bad moment", "wait")]
    renewed = threading.Event()

    def sometimes(self: Storage, path: str, value: object) -> None:
        if threading.current_thread().name == "study-lease":
            if failures:
                raise failures.pop()
            renewed.set()
        write(self, path, value)

    monkeypatch.setattr(Storage, "write_json", sometimes)
    with study_lock(far):
        assert renewed.wait(30)
    assert not failures


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"token": "t"}'])
def test_a_foreign_lock_file_holds_nothing(text: str, far: Storage, clock: Clock) -> None:
    far.write_bytes("lock", text.encode())
    assert lock_owner(far) is None
    with study_lock(far):
        assert lock_owner(far) is not None
