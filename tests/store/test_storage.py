"""Files of a study: whole or not there, through failing writes and killed writers."""

import errno
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pyarrow import fs

from intra_search.errors import CheckpointError, StorageError
from intra_search.store.bundle import MANIFEST, read_about, read_bundle, write_bundle
from intra_search.store.storage import Storage


def far_storage(folder: Path) -> Storage:
    """Storage that is not local, over a local folder."""
    storage = Storage(folder)
    storage._fs, storage._root = fs.SubTreeFileSystem(str(folder), fs.LocalFileSystem()), "study"
    assert not storage.is_local
    return storage


@pytest.fixture(params=["local", "far"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return Storage(tmp_path / "study") if request.param == "local" else far_storage(tmp_path)


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_bytes_and_json_round_trip(storage: Storage) -> None:
    assert not storage.exists("a/b")
    assert storage.size("a/b") is None
    assert storage.names("a") == []
    storage.write_bytes("a/b", b"12345")
    storage.write_json("a/c.json", {"x": [1, 2.5, None]})
    assert storage.read_bytes("a/b") == b"12345"
    assert storage.size("a/b") == 5
    assert storage.read_json("a/c.json") == {"x": [1, 2.5, None]}
    assert storage.names("a") == ["b", "c.json"]
    assert storage.names() == ["a"]
    storage.write_bytes("a/b", b"1")
    assert storage.read_bytes("a/b") == b"1"


def test_sizes_are_of_files_alone(storage: Storage) -> None:
    assert storage.sizes("a") == {}
    storage.write_bytes("a/b", b"12345")
    storage.write_bytes("a/.tmp-x", b"1")
    storage.write_bytes("a/c/d", b"1")
    assert storage.sizes("a") == {"b": 5}


def test_a_file_written_in_pieces_appears_whole_or_not_at_all(storage: Storage) -> None:
    with storage.writing("a/b") as file:
        file.write(b"123")
        assert not storage.exists("a/b")
        file.write(b"45")
    assert storage.read_bytes("a/b") == b"12345"

    def fails() -> None:
        with storage.writing("a/b") as file:
            file.write(b"6")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert storage.read_bytes("a/b") == b"12345"
    assert storage.sizes("a") == {"b": 5}


def test_fetch_copies_from_one_storage_to_another(storage: Storage, tmp_path: Path) -> None:
    data = bytes(range(256)) * 40_000  # more than is copied at a time
    storage.write_bytes("a/b", data)
    storage.fetch("a/b", Storage(tmp_path / "copies"), "c")
    assert (tmp_path / "copies/c").read_bytes() == data
    with pytest.raises(StorageError, match="a/x: must exist"):
        storage.fetch("a/x", Storage(tmp_path / "copies"), "d")
    assert Storage(tmp_path / "copies").names() == ["c"]


def test_delete_takes_files_and_folders_and_nothing(storage: Storage) -> None:
    storage.write_bytes("a/b", b"1")
    storage.write_bytes("a/c/d", b"1")
    storage.delete("a/b")
    assert storage.names("a") == ["c"]
    storage.delete("a")
    assert storage.names() == []
    storage.delete("a")


def test_missing_and_damaged_files_are_named(storage: Storage) -> None:
    with pytest.raises(StorageError, match="no/such: must exist, found no such file"):
        storage.read_bytes("no/such")
    storage.write_bytes("x.json", b"{")
    with pytest.raises(StorageError, match=r"x\.json: must be JSON"):
        storage.read_json("x.json")


@pytest.mark.parametrize("uri", ["ftp://host/x", "s4://bucket", "://"])
def test_unknown_uri_is_refused(uri: str) -> None:
    with pytest.raises(StorageError, match="must be a storage URI"):
        Storage(uri)


def test_a_file_where_a_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="must be readable and writable") as caught:
        Storage(tmp_path / "file").write_bytes("study.toml", b"x")
    assert "\n" not in str(caught.value)


def test_pickled_storage_finds_its_folder_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage = Storage("study")
    storage.write_bytes("a", b"1")
    text = pickle.dumps(storage)
    monkeypatch.chdir("/")
    assert pickle.loads(text).read_bytes("a") == b"1"
    assert pickle.loads(pickle.dumps(Storage(f"file://{tmp_path}/study"))).read_bytes("a") == b"1"


def test_paths_for_people() -> None:
    assert Storage("/x/y/").full_path() == "/x/y"
    assert Storage("/x/y").full_path("trials/00001") == "/x/y/trials/00001"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_writer_that_fails_leaves_the_old_bytes(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(tmp_path)
    storage.write_bytes("a/record", b"old")

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "broken disk")

    monkeypatch.setattr(os, step, fails)
    with pytest.raises(StorageError, match="record: must be readable and writable, found broken disk"):
        storage.write_bytes("a/record", b"new")
    assert storage.read_bytes("a/record") == b"old"
    assert files_below(tmp_path) == ["a/record"]


def test_no_space_is_one_line_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(tmp_path)
    write_bundle(storage, "old", {"x": b"1"}, {})
    before = files_below(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for attempt in (lambda: storage.write_bytes("r", b"x"), lambda: write_bundle(storage, "new", {"x": b"2"}, {})):
        with pytest.raises(StorageError, match="needs space, found none left on the device; free some") as caught:
            attempt()
        assert "\n" not in str(caught.value)
    assert files_below(tmp_path) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_device_that_is_really_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    monkeypatch.setattr("intra_search.store.storage.link_on_the_way", lambda root, path: None)
    monkeypatch.setattr(Storage, "_temporary_name", lambda self, path: "full")
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    with pytest.raises(StorageError, match="needs space"):
        Storage(tmp_path).write_bytes("record", b"x" * 100_000)


def test_leftovers_of_killed_writers_are_removed(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    write_bundle(storage, "trials/00001/gen-1/checkpoint-000001", {"x": b"1"}, {})
    storage.write_bytes("study.toml", b"kept")
    kept = files_below(tmp_path)
    for name in (".tmp-study.toml-1", "trials/00001/.tmp-record.json-2", "knowledge/a/.tmp-shard-3/x/.tmp-manifest-4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "trials/00001/gen-1/.tmp-checkpoint-000002-5").mkdir()
    (tmp_path / ".tmp-lock-6").write_bytes(b"a lease under way")
    assert storage.delete_leftovers() == 4  # a folder with all that is in it is one
    assert files_below(tmp_path) == sorted([*kept, ".tmp-lock-6"])
    assert not (tmp_path / "trials/00001/gen-1/.tmp-checkpoint-000002-5").exists()
    assert storage.delete_leftovers() == 0
    assert Storage(tmp_path / "nothing").delete_leftovers() == 0


def run_killed(script: str, folder: Path, seconds: float) -> None:
    """Runs a writer until it has begun, and kills it some time later."""
    process = subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


REPLACES = """
import sys
from intra_search.store.storage import Storage
storage, number = Storage(sys.argv[1]), 0
while True:
    storage.write_bytes("record", bytes([97 + number % 26]) * 300_000)
    if not number:
        print("begun", flush=True)
    number += 1
"""

PUBLISHES = """
import sys
from intra_search.store.bundle import write_bundle
from intra_search.store.storage import Storage
storage, number = Storage(sys.argv[1]), 0
while True:
    files = {name: bytes([number % 256]) * 50_000 for name in ("a", "b", "c")}
    write_bundle(storage, f"trial/checkpoint-{number:06d}", files, {"epoch": number})
    if not number:
        print("begun", flush=True)
    number += 1
"""


def test_a_killed_writer_leaves_whole_bytes(tmp_path: Path) -> None:
    rng = random.Random(1)
    for _ in range(4):
        run_killed(REPLACES, tmp_path, rng.uniform(0, 0.05))
        data = Storage(tmp_path).read_bytes("record")
        assert len(data) == 300_000
        assert len(set(data)) == 1
    assert Storage(tmp_path).names() == ["record"]  # what the killed left has a temporary name


def test_a_killed_writer_publishes_whole_bundles_or_none(tmp_path: Path) -> None:
    rng = random.Random(2)
    for attempt in range(4):
        folder = tmp_path / str(attempt)
        run_killed(PUBLISHES, folder, rng.uniform(0, 0.05))
        storage = Storage(folder)
        names = storage.names("trial")
        assert names[0] == "checkpoint-000000"
        for number, name in enumerate(names):
            assert read_bundle(storage, f"trial/{name}").about == {"epoch": number}


FILES = {"network.pt": bytes(range(256)), "empty": b""}
ABOUT = {"epoch": 3, "history": [{"val/miou": 0.25, "val/iou/stop line": None}], "bins": (1, 2), "nan": float("nan")}


def test_bundle_round_trip(storage: Storage) -> None:
    write_bundle(storage, "trial/checkpoint", FILES, ABOUT)
    found = read_bundle(storage, "trial/checkpoint")
    assert found.files == FILES
    assert found.about["history"] == ABOUT["history"]
    assert found.about["bins"] == [1, 2]
    assert read_about(storage, "trial/checkpoint")["epoch"] == 3


def test_bundle_with_numbers_for_keys(storage: Storage) -> None:
    """Sorted as numbers when written, as words when read: the checksum must not care."""
    write_bundle(storage, "b", {}, {"rungs": {9: "a", 10: "b"}})
    assert read_about(storage, "b") == {"rungs": {"9": "a", "10": "b"}}


def test_bundle_is_replaced_whole(storage: Storage) -> None:
    write_bundle(storage, "b", {"x": b"1", "y": b"1"}, {})
    write_bundle(storage, "b", {"x": b"2"}, {})
    assert read_bundle(storage, "b").files == {"x": b"2"}


def test_on_object_storage_the_manifest_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, written = far_storage(tmp_path), []
    write = Storage.write_bytes

    def noted(self: Storage, path: str, data: bytes) -> None:
        written.append(path)
        write(self, path, data)

    monkeypatch.setattr(Storage, "write_bytes", noted)
    write_bundle(storage, "b", {"z": b"1", "a": b"2"}, {})
    assert written[-1] == f"b/{MANIFEST}"
    storage.delete(f"b/{MANIFEST}")
    with pytest.raises(CheckpointError, match=r"must hold a valid manifest\.json, found none"):
        read_bundle(storage, "b")


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_a_missing_file_is_refused(name: str, tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    write_bundle(storage, "b", FILES, ABOUT)
    storage.delete(f"b/{name}")
    with pytest.raises(CheckpointError, match=name if name != MANIFEST else MANIFEST) as caught:
        read_bundle(storage, "b")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["network.pt", MANIFEST])
def test_any_flipped_or_cut_byte_is_refused(name: str, tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    write_bundle(storage, "b", FILES, ABOUT)
    whole = storage.read_bytes(f"b/{name}")
    expected = read_bundle(storage, "b")
    rng = random.Random(3)
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << rng.randrange(8)
        (tmp_path / "b" / name).write_bytes(rng.choice([bytes(flipped), whole[:position]]))
        try:
            found = read_bundle(storage, "b")
        except CheckpointError as error:
            assert "\n" not in str(error)  # noqa: PT017 - most damage is refused
        else:
            # Only a blank of the manifest's layout may turn into another blank.
            assert name == MANIFEST
            assert repr(found) == repr(expected)
    (tmp_path / "b" / name).write_bytes(whole + b"x")
    with pytest.raises(CheckpointError):
        read_bundle(storage, "b")


def test_a_folder_that_is_no_bundle(storage: Storage) -> None:
    for text in (b"[]", b"3", b"{}", b'{"files": 3, "about": {}, "sha256": ""}'):
        storage.write_bytes(f"b/{MANIFEST}", text)
        with pytest.raises(CheckpointError, match=r"must hold a valid manifest\.json, found another form"):
            read_about(storage, "b")
