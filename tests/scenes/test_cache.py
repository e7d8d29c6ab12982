"""Kept scenes: the same bits in the same order of memory, bounded, whole or decoded again, shared by processes."""

import fcntl
import multiprocessing
import os
import random
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from torchvision.transforms.v2 import functional as transforms

from intra_search.scenes import cache as cache_module
from intra_search.scenes.cache import OVERHEAD_BYTES, SceneCache, scenes_key
from intra_search.scenes.views import View

HEIGHT, WIDTH = 24, 40
SCENE_BYTES = 4 * HEIGHT * WIDTH


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INTRA_SEARCH_CACHE", str(tmp_path))
    return tmp_path / "scenes"


def scene(number: int, *, channels_last: bool = True) -> View:
    generator = torch.Generator().manual_seed(number)
    image = torch.randint(256, (HEIGHT, WIDTH, 3), dtype=torch.uint8, generator=generator).permute(2, 0, 1)
    labels = torch.randint(9, (HEIGHT, WIDTH), dtype=torch.uint8, generator=generator)
    return View(image if channels_last else image.contiguous(), labels)


def opened(key: str = "a", num_scenes: int = 10) -> SceneCache:
    return SceneCache(scenes_key(key), num_scenes, SCENE_BYTES)


def same(found: View | None, expected: View) -> bool:
    return found is not None and torch.equal(found.image, expected.image) and torch.equal(found.labels, expected.labels)


def files(place: Path) -> list[Path]:
    return sorted(place.rglob("*.arrow"))


@pytest.mark.parametrize("channels_last", [False, True])
def test_what_is_kept_comes_back_in_its_order_of_memory(channels_last: bool) -> None:
    expected = scene(3, channels_last=channels_last)
    opened().write(3, expected)
    found = opened().read(3)
    assert same(found, expected)
    assert found is not None
    assert found.image.stride() == expected.image.stride()
    resized = [transforms.resize(view.image, [17, 31], antialias=True) for view in (found, expected)]
    assert torch.equal(*resized)


def test_what_is_not_kept_is_none() -> None:
    cache = opened()
    assert cache.read(0) is None
    cache.write(0, scene(0))
    assert cache.read(1) is None
    assert opened("b").read(0) is None


def test_a_kept_scene_takes_what_is_declared(place: Path) -> None:
    opened().write(0, scene(0))
    assert SCENE_BYTES < files(place)[0].stat().st_size <= SCENE_BYTES + OVERHEAD_BYTES


def test_a_damaged_file_is_not_read_and_is_replaced(place: Path) -> None:
    opened().write(0, scene(0))
    (file,) = files(place)
    whole, rng = file.read_bytes(), random.Random(0)
    damages = [b"", whole[:-1], whole[: len(whole) // 2], bytes(len(whole)), b"no arrow"]
    for position in [*rng.sample(range(len(whole)), 60), *range(0, 64, 7), len(whole) - 9]:
        damages.append(whole[:position] + bytes([whole[position] ^ 0x41]) + whole[position + 1 :])
    for content in damages:
        file.unlink()
        file.write_bytes(content)
        cache = opened()
        found = cache.read(0)
        assert found is None or same(found, scene(0))  # a byte that means nothing may have changed
        cache.write(0, scene(0))
        assert same(opened().read(0), scene(0))


@pytest.mark.parametrize(
    "told", ["[]", "{}", '{"size": [-1, -2]}', '{"size": [1.5, 2], "channels_last": 0, "crc32": null}', "3"]
)
@pytest.mark.parametrize("kind", [pa.uint8(), pa.float32()])
def test_a_file_of_another_form_is_not_read(place: Path, told: str, kind: pa.DataType) -> None:
    opened().write(0, scene(0))
    (file,) = files(place)
    table = pa.ipc.open_file(file.read_bytes()).read_all()
    about = {b"intra_search.scene": told.encode()} if kind == pa.uint8() else table.schema.metadata
    changed = pa.table({"pixels": table.column("pixels").cast(kind)}).replace_schema_metadata(about)
    file.unlink()
    with pa.OSFile(str(file), "wb") as written, pa.ipc.new_file(written, changed.schema) as writer:
        writer.write_table(changed)
    assert opened().read(0) is None


def test_no_half_written_file_is_left(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = opened()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    cache.write(0, scene(0))
    cache.write(1, scene(1))  # it does not try again
    assert [path.name for path in place.rglob("*") if path.is_file() and path.suffix != ".json"] == ["lock", "lock"]


def test_nothing_is_written_on_a_full_disk(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "FREE_SHARE", 1.0)
    opened().write(0, scene(0))
    assert files(place) == []


def test_a_place_that_cannot_be_written_costs_only_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("INTRA_SEARCH_CACHE", str(tmp_path / "file"))
    cache = opened()
    cache.write(0, scene(0))
    assert cache.read(0) is None


def room_for(scenes: float) -> str:
    return str(scenes * (SCENE_BYTES + OVERHEAD_BYTES) / 1e9)


def test_the_room_bounds_what_is_kept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTRA_SEARCH_CACHE_GB", room_for(3.5))
    cache = opened()
    for number in range(10):
        cache.write(number, scene(number))
    assert len(files(place)) == 3
    assert same(opened().read(2), scene(2))
    assert opened().read(3) is None


def test_unused_scenes_make_room_longest_unused_first(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTRA_SEARCH_CACHE_GB", room_for(10))
    for age, key in enumerate("abc"):
        opened(key, 3).write(0, scene(0))
        os.utime(place / scenes_key(key) / "room.json", (age, age))
    os.utime(place / scenes_key("a") / "room.json")  # the oldest has been used since
    opened("d", 4).write(3, scene(3))
    left = {key for key in "abcd" if (place / scenes_key(key)).exists()}
    assert left == {"a", "c", "d"}
    assert same(opened("d", 4).read(3), scene(3))


def test_scenes_in_use_are_not_evicted(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTRA_SEARCH_CACHE_GB", room_for(5))
    used = opened("a", 3)
    used.write(0, scene(0))
    other = opened("b", 4)
    for number in range(4):
        other.write(number, scene(number))
    assert same(used.read(0), scene(0))
    assert same(opened("a", 3).read(0), scene(0))
    assert len(files(place)) == 1 + 2  # two scenes' room were left
    del used, other
    opened("c", 5)
    assert [path.name for path in place.iterdir() if path.is_dir()] == [scenes_key("c")]


def _write_all(key: str, numbers: list[int]) -> None:
    cache = opened(key, 50)
    for number in numbers:
        cache.write(number, scene(number))


def test_processes_write_the_same_scenes_at_once(place: Path) -> None:
    context = multiprocessing.get_context("fork")
    orders = [list(range(50)), list(range(49, -1, -1)), list(range(25, 50)) + list(range(25))]
    processes = [context.Process(target=_write_all, args=("a", order)) for order in orders]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    cache = opened("a", 50)
    assert all(same(cache.read(number), scene(number)) for number in range(50))
    assert not [path for path in place.rglob(".tmp-*")]


def test_more_scenes_than_may_be_mapped_are_read_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "MAX_MAPPED", 2)
    cache = opened()
    for number in range(5):
        cache.write(number, scene(number))
    for number in (0, 1, 2, 3, 4, 3, 2, 1, 0):
        assert same(cache.read(number), scene(number))
    assert len(cache._mapped) == 2


def test_no_file_descriptor_stays_open(place: Path) -> None:
    cache = opened()
    for number in range(10):
        cache.write(number, scene(number))
    before = len(os.listdir("/proc/self/fd"))
    kept = [cache.read(number) for number in range(10)]
    assert len(os.listdir("/proc/self/fd")) == before
    assert same(kept[9], scene(9))


def test_the_place_is_this_machines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("INTRA_SEARCH_CACHE")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    opened().write(0, scene(0))
    assert [path.name for path in (tmp_path / f"intra-search-{os.getuid()}" / "scenes").glob("*/*/*")] == [
        "00000000.arrow"
    ]


def test_a_lock_is_shared_by_readers(place: Path) -> None:
    first, second = opened(), opened()
    descriptor = os.open(place / scenes_key("a") / "lock", os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    del first, second
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)
