"""A study and a checkpoint stay inside their folder, whatever their files and links say."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from intra_search.config.hashing import json_hash
from intra_search.errors import CheckpointError, StorageError, StudyError
from intra_search.store.bundle import read_about, write_bundle
from intra_search.store.inside import is_inside, is_name
from intra_search.store.lock import lock_owner, study_lock
from intra_search.store.storage import Storage
from intra_search.store.study_folder import StudyFolder
from tests.store.test_ledger import RECORD

OUTSIDE = ("../x", "a/../../x", "/etc/x", "a\0b", "..")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """An empty study beside a folder with a file that is none of its business."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").write_bytes(b"kept")
    (tmp_path / "study").mkdir()
    return tmp_path / "study"


def test_by_hand() -> None:
    assert not any(map(is_inside, OUTSIDE))
    assert all(map(is_inside, ("", "a", "a/b..c", "...")))
    assert not any(map(is_name, (*OUTSIDE, "a/b", "", ".")))
    assert is_name("network.safetensors")


@pytest.mark.parametrize("path", ["../elsewhere/file", "a/../../elsewhere/file", "a\0b"])
def test_a_path_that_leads_outside_is_neither_read_nor_written(study: Path, path: str) -> None:
    storage = Storage(study)
    calls: list[Callable[[], object]] = [
        lambda: storage.read_bytes(path),
        lambda: storage.write_bytes(path, b"x"),
        lambda: storage.write_folder(path, {"x": b""}, last="x"),
        lambda: storage.delete(path),
        lambda: storage.names(path),
        lambda: storage.full_path(path),
    ]
    for call in calls:
        with pytest.raises(StorageError, match=r"relative paths without '\.\.', found '"):
            call()
    assert (study.parent / "elsewhere/file").read_bytes() == b"kept"


@pytest.mark.parametrize("link", ["trials", "trials/00002", "tensorboard", "trials/00002/record.json", "lock"])
def test_a_link_below_a_study_is_refused_by_its_name(study: Path, link: str) -> None:
    (study / link).parent.mkdir(parents=True, exist_ok=True)
    is_file = link.endswith(("json", "lock"))
    (study / link).symlink_to(study.parent / ("elsewhere/file" if is_file else "elsewhere"))
    storage, path = Storage(study), link if is_file else f"{link}/file"
    calls: list[Callable[[], object]] = [
        lambda: storage.read_bytes(path),
        lambda: storage.write_bytes(path, b"x"),
        lambda: storage.delete(link),
        lambda: storage.full_path(path),
    ]
    if link == "lock":
        calls += [lambda: study_lock(storage).__enter__(), lambda: lock_owner(storage)]
    for call in calls:
        with pytest.raises(StorageError, match=f"study/{link}: must not be a symbolic link, found one to '/") as caught:
            call()
        assert "\n" not in str(caught.value)
    assert (study.parent / "elsewhere/file").read_bytes() == b"kept"


def test_the_studys_own_folder_may_be_a_link(study: Path) -> None:
    (study.parent / "link").symlink_to(study)
    Storage(study.parent / "link").write_bytes("trials/x", b"1")
    assert (study / "trials/x").read_bytes() == b"1"


def test_a_record_may_not_name_a_place_outside(study: Path) -> None:
    folder = StudyFolder(str(study))
    for path in OUTSIDE:
        record = {"teacher": {"folder": path, "checkpoint": "x", "score": None}, "history": [], "device_seconds": 0}
        folder.storage.write_json("teacher/abc/record.json", record)
        with pytest.raises(StudyError, match=r"teacher\.folder: .*relative path without '\.\.'"):
            folder.teacher("teacher/abc").read()
        text = json.dumps(json.loads(RECORD.model_dump_json()) | {"best_checkpoint": path})
        folder.storage.write_bytes("trials/00017/record.json", text.encode())
        with pytest.raises(StudyError, match=r"best_checkpoint: .*relative path without '\.\.'"):
            folder.ledger.records()


@pytest.mark.parametrize("name", [*OUTSIDE, "a/b", ""])
def test_a_manifest_may_name_files_beside_it_only(study: Path, name: str) -> None:
    storage = Storage(study)
    write_bundle(storage, "bundle", {"x": b"1"}, {})
    content = {"files": {name: {"bytes": 4, "sha256": "0"}}, "about": {}}
    storage.write_json("bundle/manifest.json", {**content, "sha256": json_hash(content)})
    with pytest.raises(CheckpointError, match="of files that lie beside it, found '"):
        read_about(storage, "bundle")
