"""Object storage: the same study files on S3, played by moto's server on this machine."""

from pathlib import Path

import pytest

from intra_search.errors import CheckpointError, StorageError, StudyError
from intra_search.store.bundle import read_bundle, write_bundle
from intra_search.store.lock import lock_owner, study_lock
from intra_search.store.storage import Storage


def test_files_round_trip(bucket: str) -> None:
    storage = Storage(bucket.format("files"))
    assert not storage.is_local
    assert not storage.exists("a/b.json")
    assert storage.names("a") == []
    storage.write_json("a/b.json", {"x": 1})
    storage.write_bytes("a/c.bin", b"123")
    storage.write_bytes("a/c.bin", b"4567")
    assert storage.read_json("a/b.json") == {"x": 1}
    assert storage.names("a") == ["b.json", "c.bin"]
    assert storage.size("a/c.bin") == 4
    storage.delete("a/b.json")
    assert storage.names("a") == ["c.bin"]
    with pytest.raises(StorageError, match="must exist"):
        storage.read_bytes("a/b.json")


def test_a_full_path_opens_the_same_file(bucket: str) -> None:
    storage = Storage(bucket.format("paths"))
    storage.write_bytes("trials/00000/x", b"here")
    assert Storage(storage.full_path("trials/00000")).read_bytes("x") == b"here"


def test_a_bundle_without_its_manifest_does_not_count(bucket: str) -> None:
    storage = Storage(bucket.format("bundles"))
    write_bundle(storage, "checkpoint-000001", {"network.pt": b"weights"}, {"epoch": 1})
    assert read_bundle(storage, "checkpoint-000001").files == {"network.pt": b"weights"}
    assert read_bundle(Storage(storage.full_path("checkpoint-000001")), "").about == {"epoch": 1}
    storage.write_bytes("checkpoint-000002/network.pt", b"the manifest was still to come")
    with pytest.raises(CheckpointError, match=r"must hold a valid manifest.json"):
        read_bundle(storage, "checkpoint-000002")


def test_a_lease_keeps_a_second_driver_out_and_can_be_taken_over(bucket: str) -> None:
    storage = Storage(bucket.format("lease"))
    with study_lock(storage):
        owner = lock_owner(storage)
        assert owner is not None
        with pytest.raises(StudyError, match=f"pid {owner['pid']}"), study_lock(storage):
            pass
        with study_lock(storage, takeover=True):
            pass
    assert lock_owner(storage) is None


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(StorageError, match="must be a storage URI"):
        Storage("ftp://host/path")


def test_local_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Storage("study").uri == str(tmp_path / "study")
