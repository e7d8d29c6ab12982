"""Stored knowledge comes back as it was written; what is missing, cut or of something else is refused in one line."""

import io
import pickle
import random
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyarrow import fs
from torch import Tensor

from intra_search.distill.needs import FeatureNeed, GraphNeed, LogitsNeed, MapNeed, Need, RegionForm, StoredForm
from intra_search.errors import IntraSearchError, KnowledgeError
from intra_search.knowledge import store as store_module
from intra_search.knowledge.answering import stored_forms
from intra_search.knowledge.node_cache import node_copies
from intra_search.knowledge.reader import KnowledgeReader, open_knowledge
from intra_search.knowledge.records import Making
from intra_search.knowledge.shards import write_shard
from intra_search.knowledge.source import Source
from intra_search.knowledge.store import KnowledgeStore, part_of, read_manifest, shard_about, shard_name
from intra_search.store.storage import Storage
from tests.knowledge.conftest import SCENES_PER_SHARD

GRAPH, MAP = GraphNeed("block3", 2, RegionForm(kernel_size=5)), MapNeed("block5")
NUM_SCENES, NUM_VIEWS, CLASSES = SCENES_PER_SHARD + 3, 2, 4
SOURCE = Source("t" * 64, "s" * 64, "v" * 64, NUM_SCENES, NUM_VIEWS)
SHAPES = {GRAPH.key: (CLASSES, CLASSES), MAP.key: (3, 5), "feature/block3": (2, 3), "logits/stride1": (2, 2)}


def answer_of(need: Need, scene: int, view: int) -> dict[str, Tensor]:
    """Made-up answers that tell which need and view they belong to; they hold what float16 holds exactly."""
    rng = np.random.default_rng((scene, view, len(need.key)))
    answer = {need.key: torch.from_numpy(rng.random(SHAPES[need.key]).astype(np.float16)).float()}
    if isinstance(need, GraphNeed):
        answer[need.cells_key] = torch.from_numpy(rng.random(CLASSES)).float()
    return answer


def write_part(store: KnowledgeStore, shard: int, needs: list[Need]) -> None:
    source = store.source
    rows = [(scene, view) for scene in source.scenes_of(shard) for view in range(source.num_views)]
    views = [{k: v for need in needs for k, v in answer_of(need, *row).items()} for row in rows]
    joined = {key: torch.stack([view[key] for view in views]) for key in views[0]}
    name = shard_name(shard, store.announce(need.key for need in needs))
    batches = [{key: rows[at : at + 8] for key, rows in joined.items()} for at in range(0, len(views), 8)]
    with store.storage.writing(name) as file:
        write_shard(file, batches, partial(stored_forms, frozenset(needs)), shard_about(source.hashes, name))


def shard_bytes(answers: dict[str, Tensor], forms: dict[str, StoredForm], about: dict[str, str]) -> bytes:
    """A file of one batch."""
    file = io.BytesIO()
    write_shard(file, [answers], lambda _: forms, about)
    return file.getvalue()


def write_store(storage: Storage, *needs: Need, source: Source = SOURCE) -> KnowledgeStore:
    store = KnowledgeStore(storage, source)
    store.begin(lambda: Making(2, "off"))
    for shard, keys in store.missing(need.key for need in needs).items():
        write_part(store, shard, [need for need in needs if need.key in keys])
    store.finish(need.key for need in needs)
    return store


def opened(storage: Storage, *needs: Need, **expected: str) -> KnowledgeReader:
    return open_knowledge(storage, needs, expected, node_cache_gb=1.0)


def check_answers(reader: KnowledgeReader, *needs: Need) -> None:
    for scene, view in [(0, 0), (0, 1), (7, 1), (SCENES_PER_SHARD - 1, 1), (SCENES_PER_SHARD, 0), (NUM_SCENES - 1, 1)]:
        found = reader.answers(scene, view)
        expected = {key: value for need in needs for key, value in answer_of(need, scene, view).items()}
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert torch.equal(found[key], value)
            assert found[key].dtype == value.dtype


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage(tmp_path / "store")
    write_store(storage, GRAPH, MAP)
    return storage


PART = part_of([GRAPH.key, MAP.key])


def test_scenes_are_cut_into_shards() -> None:
    assert SOURCE.num_shards == 2
    assert [*SOURCE.scenes_of(0), *SOURCE.scenes_of(1)] == list(range(NUM_SCENES))
    assert SOURCE._replace(num_scenes=SCENES_PER_SHARD).num_shards == 1


def test_every_part_of_the_source_names_the_folder() -> None:
    changes: list[dict[str, Any]] = [
        {"teacher": "u"},
        {"scenes": "v"},
        {"views": "w"},
        {"num_scenes": 3},
        {"num_views": 3},
    ]
    folders = {SOURCE.folder, *(SOURCE._replace(**change).folder for change in changes)}
    assert len(folders) == len(changes) + 1


def test_every_view_comes_back(storage: Storage) -> None:
    check_answers(opened(storage, GRAPH, MAP), GRAPH, MAP)
    check_answers(opened(storage, MAP), MAP)


def test_a_float32_answer_is_the_mapped_memory_and_the_file_stays_as_it_is(storage: Storage) -> None:
    before = storage.read_bytes(shard_name(0, PART))
    reader = opened(storage, GRAPH)
    first, again = reader.answers(1, 1), reader.answers(1, 1)
    assert first[GRAPH.key].data_ptr() == again[GRAPH.key].data_ptr()
    first[GRAPH.key].zero_()
    assert storage.read_bytes(shard_name(0, PART)) == before
    check_answers(opened(storage, GRAPH), GRAPH)
    # If a caller writes to that memory all the same, the next read notices.
    with pytest.raises(KnowledgeError, match="another checksum in row 3"):
        reader.answers(1, 1)


def test_a_pickled_reader_reads_the_same(storage: Storage) -> None:
    reader = opened(storage, GRAPH, MAP)
    reader.answers(0, 0)
    check_answers(pickle.loads(pickle.dumps(reader)), GRAPH, MAP)


def test_a_narrow_study_reads_none_of_a_wider_ones_files(tmp_path: Path) -> None:
    """On object storage a machine copies what is read, and the wider study's answers may not fit."""
    store = write_store(Storage(tmp_path), GRAPH)
    write_store(Storage(tmp_path), GRAPH, MAP)
    own = part_of([GRAPH.key])
    for shard, files in enumerate(read_manifest(store.storage, [GRAPH.key]).shards):
        assert list(files) == [shard_name(shard, own)]
    both = read_manifest(store.storage, [GRAPH.key, MAP.key])
    assert all(len(files) == 2 for files in both.shards)
    # Where one part holds both, it is read whole, but no other.
    (tmp_path / "wide").mkdir()
    wide = write_store(Storage(tmp_path / "wide"), GRAPH, MAP)
    assert all(len(files) == 1 for files in read_manifest(wide.storage, [GRAPH.key]).shards)


def test_a_key_that_begins_like_another_is_not_taken_for_it(tmp_path: Path) -> None:
    """textbook1 and textbook12, or kernel5 and kernel51, share a beginning but no answer."""
    first, second = GraphNeed("block3", 1, RegionForm(5)), GraphNeed("block3", 12, RegionForm(5))
    answers = {need.key: torch.full((1, 2), float(need.order)) for need in (first, second)}
    forms = stored_forms(frozenset((first, second)), answers)
    storage, source = Storage(tmp_path), SOURCE._replace(num_scenes=1, num_views=1)
    store = KnowledgeStore(storage, source)
    store.begin(lambda: Making(1, "off"))
    name = shard_name(0, store.announce(answers))
    storage.write_bytes(name, shard_bytes(answers, forms, shard_about(source.hashes, name)))
    store.finish(answers)
    found = opened(storage, first).answers(0, 0)
    assert {key: value.tolist() for key, value in found.items()} == {first.key: [1.0, 1.0]}


@pytest.mark.parametrize("need", [MAP, MapNeed("block5", "l2"), LogitsNeed(), FeatureNeed("block3")])
def test_maps_logits_and_features_are_stored_in_half_the_bytes(tmp_path: Path, need: Need) -> None:
    values = torch.rand(1, 200, generator=torch.Generator().manual_seed(0)) * 10 ** -torch.arange(0.0, 8).repeat(25)
    forms = stored_forms(frozenset([need]), {need.key: values})
    (tmp_path / "shard").write_bytes(shard_bytes({need.key: values}, forms, {}))
    column = store_column(tmp_path / "shard", need)
    assert column.dtype == torch.float16
    found = column.row(0)
    assert found.dtype == torch.float32
    # A softmax over 10,000 cells lies around 1e-4, where plain float16 begins to lose bits.
    exact = values > (1e-8 if isinstance(need, MapNeed) else 1e-4)
    torch.testing.assert_close(found[exact[0]], values[exact], rtol=2**-10, atol=0)
    torch.testing.assert_close(found, values[0], rtol=2**-10, atol=1e-7)


def store_column(path: Path, need: Need) -> Any:
    from intra_search.knowledge.shards import open_shard

    return open_shard(str(path), {need.key}, {})[need.key]


@pytest.mark.parametrize(("need", "value"), [(LogitsNeed(), 7e4), (MAP, 3.0), (GRAPH, torch.nan)])
def test_what_its_type_cannot_hold_is_refused(need: Need, value: float) -> None:
    answers = {need.key: torch.full((1, 2), value)}
    with pytest.raises(
        KnowledgeError, match=rf"the teacher's {need.key}: must be finite as float.*knowledge.mode = live"
    ):
        shard_bytes(answers, stored_forms(frozenset([need]), answers), {})


def test_a_wider_spec_adds_files_and_leaves_the_others(storage: Storage) -> None:
    wider, before = FeatureNeed("block3"), storage.sizes()
    kept = {name: storage.read_bytes(name) for name in before}
    store = KnowledgeStore(storage, SOURCE)
    assert store.missing([MAP.key]) == {}
    assert store.missing([MAP.key, wider.key]) == {0: (wider.key,), 1: (wider.key,)}
    write_store(storage, MAP, wider)
    assert {name: storage.read_bytes(name) for name in before} == kept
    check_answers(opened(storage, MAP, wider), MAP, wider)
    check_answers(opened(storage, GRAPH, MAP), GRAPH, MAP)
    with pytest.raises(KnowledgeError, match=r"found no (feature|affinity)/block3"):
        opened(storage, GRAPH, wider)  # no study asked for these two together
    assert store.missing([GRAPH.key, wider.key]) == {}
    store.finish([GRAPH.key, wider.key])
    check_answers(opened(storage, GRAPH, wider), GRAPH, wider)


def test_a_spec_widened_in_mid_extraction_takes_what_is_there(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    store = KnowledgeStore(storage, SOURCE)
    store.begin(lambda: Making(1, "off"))
    write_part(store, 0, [GRAPH])  # killed before shard 1
    assert store.missing([GRAPH.key, MAP.key]) == {0: (MAP.key,), 1: (GRAPH.key, MAP.key)}
    write_store(storage, GRAPH, MAP)
    check_answers(opened(storage, GRAPH, MAP), GRAPH, MAP)


def test_the_number_of_threads_is_that_of_the_first_start(storage: Storage) -> None:
    assert KnowledgeStore(storage, SOURCE).begin(lambda: Making(7, "bf16")) == Making(2, "off")


def refused(storage: Storage, *needs: Need, **expected: str) -> str:
    with pytest.raises(IntraSearchError) as caught:
        opened(storage, *(needs or (GRAPH, MAP)), **expected)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_a_manifest_it_is_not_complete(storage: Storage) -> None:
    storage.delete(f"manifest-{PART}.json")
    assert "must be complete, found no manifest; repeat `intra-search run`" in refused(storage)


def test_another_version_is_refused(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "FORMAT_VERSION", 4)
    assert "must be of version 4, found version 3; delete " in refused(storage)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"version": 2}', '{"version": 2, "hashes": 1}'])
def test_a_damaged_manifest_is_refused(storage: Storage, text: str) -> None:
    storage.write_bytes(f"manifest-{PART}.json", text.encode())
    assert f"manifest-{PART}.json: must be" in refused(storage)


@pytest.mark.parametrize("shard", [0, 1])
def test_a_cut_or_missing_shard_is_refused_and_mended_as_it_says(storage: Storage, shard: int) -> None:
    name = shard_name(shard, PART)
    whole = storage.read_bytes(name)
    storage.write_bytes(name, whole[:-1])
    where = storage.full_path(name)
    message = f"{where}: must have {len(whole)} bytes, found {len(whole) - 1} bytes; delete {where} and repeat"
    assert message in refused(storage)
    with pytest.raises(KnowledgeError, match="must have"):
        KnowledgeStore(storage, SOURCE).missing([MAP.key])
    storage.delete(name)
    assert "found 0 bytes" in refused(storage)
    write_store(storage, GRAPH, MAP)
    assert storage.read_bytes(name) == whole


def test_a_need_that_was_not_stored_is_named(storage: Storage) -> None:
    other = MapNeed("block2")
    assert f"must hold what the trial's losses read, found no {other.key}; repeat" in refused(storage, MAP, other)


@pytest.mark.parametrize("name", ["teacher", "scenes", "views"])
def test_a_store_of_something_else_is_refused_with_both_hashes(storage: Storage, name: str) -> None:
    changed: dict[str, Any] = {name: "x" * 64}
    other = SOURCE._replace(**changed)
    own = SOURCE.hashes[name][:12]
    with pytest.raises(KnowledgeError) as caught:
        KnowledgeStore(storage, other).begin(lambda: Making(1, "off"))
    where = storage.full_path()
    text = f"{where}: must hold answers about {name} xxxxxxxxxxxx, found {name} {own}; delete {where} and repeat"
    assert text in str(caught.value)
    assert text in refused(storage, **{name: "x" * 64})


def test_a_shard_of_another_store_or_another_place_is_refused(storage: Storage, tmp_path: Path) -> None:
    other = Storage(tmp_path / "other")
    write_store(other, GRAPH, MAP, source=SOURCE._replace(teacher="u" * 64))
    name = shard_name(0, PART)
    storage.write_bytes(name, other.read_bytes(name))
    reader = opened(storage, MAP)
    with pytest.raises(KnowledgeError, match=r"must be of teacher t+, found u+; delete it"):
        reader.answers(0, 0)


def test_a_shard_altered_inside_is_found_out(storage: Storage) -> None:
    """Whatever byte is inverted: an error that names the file, or the same answers, but never others."""
    name = shard_name(1, PART)
    whole = storage.read_bytes(name)
    rng = random.Random(0)
    found_out = 0
    for _ in range(80):
        position = rng.choice([rng.randrange(len(whole)), rng.randrange(400), len(whole) - 1 - rng.randrange(400)])
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        storage.write_bytes(name, bytes(damaged))
        try:
            check_answers(opened(storage, GRAPH, MAP), GRAPH, MAP)
        except KnowledgeError as error:
            assert name in str(error)  # noqa: PT017 - inverted padding and other rows go unnoticed
            found_out += 1
    assert found_out > 20


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """Storage that cannot be memory-mapped, and a folder of its own for the local copies."""
    monkeypatch.setenv("INTRA_SEARCH_CACHE", str(tmp_path / "tmp"))
    storage = Storage(tmp_path)
    storage._fs, storage._root = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "store"
    write_store(storage, GRAPH, MAP)
    return storage


def test_far_shards_are_copied_once_and_read(far: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    check_answers(opened(far, MAP), MAP)
    read: list[str] = []
    original = Storage.read_bytes

    def noting(storage: Storage, path: str) -> bytes:
        read.append(path)
        return original(storage, path)

    monkeypatch.setattr(Storage, "read_bytes", noting)
    monkeypatch.setattr(Storage, "fetch", lambda *_: pytest.fail("fetched again"))
    check_answers(opened(far, MAP), MAP)
    assert read == [f"manifest-{PART}.json", f"spec-{PART}.json"]


def test_a_damaged_copy_is_fetched_again(far: Storage, tmp_path: Path) -> None:
    opened(far, MAP)
    copies = sorted((tmp_path / "tmp").rglob("*.arrow"))
    assert len(copies) == 2
    copies[0].write_bytes(copies[0].read_bytes()[:100])
    check_answers(opened(far, MAP), MAP)


def test_the_oldest_copies_go_but_none_that_is_read(tmp_path: Path) -> None:
    root, held = tmp_path / "cache", []
    stores = [Storage(tmp_path / f"store{number}") for number in range(4)]
    for store in stores:
        store.write_bytes("file", bytes(100))

    def fetch(number: int) -> Any:
        return node_copies(stores[number], {"file": 100}, max_bytes=250, root=root)

    first = fetch(0)
    fetch(1).release()  # its reader has gone
    second_copy = next(path for path in root.iterdir() if path.is_dir() and path != first.path)
    held.append(fetch(2))  # 300 bytes are too many, and 0 is the oldest, but read
    assert (first.path / "file").exists()
    assert not second_copy.exists()
    with pytest.raises(KnowledgeError, match=r"must hold copies of at most knowledge.node_cache_gb = 2.5e-07"):
        fetch(3)
    first.release()
    fetch(3)
    assert not first.path.exists()
    assert (held[0].path / "file").read_bytes() == bytes(100)


def test_of_several_that_ask_at_once_one_fetches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, fetched = Storage(tmp_path / "store"), []
    files = {f"file{number}": 10 for number in range(6)}
    for name in files:
        store.write_bytes(name, bytes(10))
    original = Storage.fetch

    def slowly(self: Storage, path: str, to: Storage, name: str) -> None:
        fetched.append(path)
        time.sleep(0.02)
        original(self, path, to, name)

    monkeypatch.setattr(Storage, "fetch", slowly)
    # A lock is of an open file, so threads exclude each other as processes do.
    with ThreadPoolExecutor(4) as pool:
        held = list(pool.map(lambda _: node_copies(store, files, 1000, root=tmp_path / "cache"), range(4)))
    assert sorted(fetched) == sorted(files)
    assert len({copies.path for copies in held}) == 1


def test_the_manifest_names_every_hash(storage: Storage) -> None:
    manifest = read_manifest(storage, [MAP.key])
    assert set(manifest.hashes) == {"teacher", "scenes", "views", "spec", "format version"}
    assert manifest.num_views == NUM_VIEWS
    assert [list(shard) for shard in manifest.shards] == [[shard_name(0, PART)], [shard_name(1, PART)]]
