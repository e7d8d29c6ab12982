"""An index is used only while it matches the files, and a bad one never prevents a listing."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from intra_search.errors import SceneError
from intra_search.scenes.index import SETTLED_SECONDS, ListedFrame, Listing, Scan, indexed, listing


class Lister:
    """Lists `*/*.jpg` and a table, and counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, scan: Scan) -> Listing:
        self.calls += 1
        note = scan.table("table.txt").read_text() if (scan.root / "table.txt").exists() else ""
        scan.table("table.txt")
        folders = [name for name in scan.folders(".") if name != "extra"]
        frames = [
            ListedFrame(f"{folder}/{name}", folder, f"{folder}/{name}", name, "train", "01")
            for folder in folders
            for name in scan.files(folder, (".jpg",))
        ]
        scan.exists("extra")
        return listing(frames, [note] if note else [])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for name in ("b/2.jpg", "b/1.JPG", "a/3.jpg", "a/.hidden.jpg", "a/notes.md"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "table.txt").write_text("told")
    _age(root)
    return root


def _age(root: Path, seconds: float = 100) -> None:
    """As if nothing had been changed for a while."""
    then = time.time() - seconds
    for path in [*root.rglob("*"), root]:
        os.utime(path, (then, then))


def test_a_settled_folder_is_listed_once(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lister = Lister()
    listings = [indexed("x", root, lister, tmp_path / "cache") for _ in range(3)]
    assert lister.calls == 1
    assert [frame.name for frame in listings[0].frames] == ["a/3.jpg", "b/1.JPG", "b/2.jpg"]
    assert listings[0].frames[0] == ("a/3.jpg", "a", "a/3.jpg", "3.jpg", "train", "01")
    assert list(listings[0].frames) == list(listings[1].frames) == list(listings[2].frames)
    assert caplog.text.count(f"{root}: told") == 3
    assert not list(root.rglob("*.arrow"))


def _add(root: Path) -> None:
    (root / "a" / "4.jpg").touch()


def _remove(root: Path) -> None:
    (root / "b" / "1.JPG").unlink()


def _rename(root: Path) -> None:
    (root / "b" / "1.JPG").rename(root / "b" / "0.jpg")


def _new_folder(root: Path) -> None:
    (root / "c").mkdir()


def _absent_no_more(root: Path) -> None:
    (root / "extra").mkdir()
    os.utime(root, ns=(0, _before(root)))


def _before(root: Path) -> int:
    return (root / "a").stat().st_mtime_ns


def _table(root: Path) -> None:
    (root / "table.txt").write_text("told otherwise")


def _same_size_table(root: Path) -> None:
    (root / "table.txt").write_text("sold")


def _no_table(root: Path) -> None:
    (root / "table.txt").unlink()
    os.utime(root, ns=(0, _before(root)))


@pytest.mark.parametrize(
    "change", [_add, _remove, _rename, _new_folder, _absent_no_more, _table, _same_size_table, _no_table]
)
def test_a_change_is_seen(root: Path, tmp_path: Path, change: object) -> None:
    lister = Lister()
    indexed("x", root, lister, tmp_path / "cache")
    assert callable(change)
    change(root)
    found = indexed("x", root, lister, tmp_path / "cache")
    assert lister.calls == 2
    wanted = lister(Scan(root))
    assert (list(found.frames), found.notes) == (list(wanted.frames), wanted.notes)


def test_a_folder_in_motion_is_not_kept(root: Path, tmp_path: Path) -> None:
    lister = Lister()
    _age(root, SETTLED_SECONDS / 4)
    for _ in range(2):
        indexed("x", root, lister, tmp_path / "cache")
    assert lister.calls == 2


def test_kinds_and_roots_have_indexes_of_their_own(root: Path, tmp_path: Path) -> None:
    lister = Lister()
    indexed("x", root, lister, tmp_path / "cache")
    indexed("y", root, lister, tmp_path / "cache")
    link = tmp_path / "link"
    link.symlink_to(root)
    assert indexed("x", link, lister, tmp_path / "cache").frames
    assert lister.calls == 2


@pytest.mark.parametrize("content", [b"", b"rubbish", None])
def test_a_damaged_index_is_made_again(root: Path, tmp_path: Path, content: bytes | None) -> None:
    lister = Lister()
    first = indexed("x", root, lister, tmp_path / "cache")
    (path,) = (tmp_path / "cache").rglob("*.arrow")
    path.write_bytes(path.read_bytes()[:200] if content is None else content)
    for _ in range(2):
        assert list(indexed("x", root, lister, tmp_path / "cache").frames) == list(first.frames)
    assert lister.calls == 2


@pytest.mark.parametrize(
    ("column", "told"),
    [
        (pa.array([1, 2, 3]), {}),
        (pa.array(["a", None, "b"]), {}),
        (pa.array(["a", "b", "c"]), {"intra_search.state": '["a"]'}),
        (pa.array(["a", "b", "c"]), {"intra_search.state": '{"a": [1.5]}'}),
        (pa.array(["a", "b", "c"]), {"intra_search.notes": '{"a": 1}'}),
    ],
)
def test_an_index_of_another_form_is_made_again(
    root: Path, tmp_path: Path, column: pa.Array, told: dict[str, str]
) -> None:
    lister = Lister()
    first = indexed("x", root, lister, tmp_path / "cache")
    (path,) = (tmp_path / "cache").rglob("*.arrow")
    table = pa.ipc.open_file(path.read_bytes()).read_all()
    about = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    changed = table.set_column(0, "name", column).replace_schema_metadata(about | told)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, changed.schema) as writer:
        writer.write_table(changed)
    assert list(indexed("x", root, lister, tmp_path / "cache").frames) == list(first.frames)
    assert lister.calls == 2


def test_no_place_to_write_costs_only_time(root: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    lister = Lister()
    one, other = (indexed("x", root, lister, tmp_path / "cache") for _ in range(2))
    assert list(one.frames) == list(other.frames)
    assert lister.calls == 2


def test_an_error_of_the_listing_is_not_kept(root: Path, tmp_path: Path) -> None:
    def fails(scan: Scan) -> Listing:
        scan.files("a", (".jpg",))
        raise SceneError("a", "must be", "not", "mend")

    with pytest.raises(SceneError):
        indexed("x", root, fails, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.arrow"))


def test_an_empty_listing_survives(root: Path, tmp_path: Path) -> None:
    calls: list[int] = []

    def empty(scan: Scan) -> Listing:
        calls.append(1)
        return listing([])

    for _ in range(2):
        assert list(indexed("x", root, empty, tmp_path / "cache").frames) == []
    assert len(calls) == 1


def test_many_at_a_time(root: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: indexed("x", root, Lister(), tmp_path / "cache"), range(40)))
    assert all(list(listing.frames) == list(found[0].frames) for listing in found)
    assert [path.name[0] for path in (tmp_path / "cache" / "indexes").iterdir()] == ["x"]
