"""Stored knowledge comes back as it was written; what is missing or cut is refused in one line."""

import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pyarrow import fs

from intra_search.distill.needs import GraphNeed, MapNeed, Need, RegionForm
from intra_search.errors import IntraSearchError, KnowledgeError
from intra_search.knowledge import shards
from intra_search.knowledge.reader import open_knowledge
from intra_search.knowledge.shards import (
    SCENES_PER_SHARD,
    Recipe,
    read_manifest,
    shard_name,
    write_manifest,
    write_shard,
)
from intra_search.store.storage import Storage

GRAPH, MAP = GraphNeed("block3", 2, RegionForm(kernel_size=5)), MapNeed("block5")
NUM_SCENES, NUM_VIEWS, CLASSES = SCENES_PER_SHARD + 3, 2, 4
FOLDER = "knowledge/abc"


def recipe_of(**changes: Any) -> Recipe:
    keys = tuple(sorted((GRAPH.key, MAP.key)))
    return Recipe("t" * 64, "s" * 64, {"seed": 0}, keys, NUM_SCENES, NUM_VIEWS)._replace(**changes)


def answers_of(scene: int, view: int) -> dict[str, NDArray[Any]]:
    """Made-up answers that tell which view they belong to."""
    rng = np.random.default_rng((scene, view))
    return {
        GRAPH.key: rng.random((CLASSES, CLASSES), dtype=np.float32),
        GRAPH.present_key: rng.random(CLASSES) < 0.5,
        MAP.key: rng.random((3, 5)).astype(np.float16),
        f"{MAP.key}/scale": np.asarray(scene * 10 + view, dtype=np.float64),
    }


def write_store(storage: Storage) -> Recipe:
    recipe = recipe_of()
    for shard in range(recipe.num_shards):
        views = [answers_of(scene, view) for scene in recipe.scenes_of(shard) for view in range(NUM_VIEWS)]
        write_shard(storage, FOLDER, shard, {key: np.stack([view[key] for view in views]) for key in views[0]})
    write_manifest(storage, FOLDER, recipe, {"device_seconds": 1.5})
    return recipe


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage(tmp_path / "study")
    write_store(storage)
    return storage


def test_recipe_cuts_scenes_into_shards() -> None:
    recipe = recipe_of()
    assert recipe.num_shards == 2
    assert [*recipe.scenes_of(0), *recipe.scenes_of(1)] == list(range(NUM_SCENES))
    assert recipe_of(num_scenes=SCENES_PER_SHARD).num_shards == 1


def test_every_part_of_the_recipe_names_the_store() -> None:
    changes: list[dict[str, Any]] = [
        {"teacher": "u"},
        {"scenes": "v"},
        {"views": {"seed": 1}},
        {"keys": (MAP.key,)},
        {"num_scenes": 3},
        {"num_views": 3},
    ]
    assert len({recipe_of().hash, *(recipe_of(**change).hash for change in changes)}) == len(changes) + 1
    assert recipe_of().hash == recipe_of().hash


def test_every_view_comes_back(storage: Storage) -> None:
    reader = open_knowledge(storage, FOLDER, [GRAPH, MAP])
    for scene, view in [(0, 0), (0, 1), (7, 1), (SCENES_PER_SHARD - 1, 1), (SCENES_PER_SHARD, 0), (NUM_SCENES - 1, 1)]:
        found, expected = reader.answers(scene, view), answers_of(scene, view)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert torch.equal(found[key], torch.from_numpy(value))
            assert found[key].dtype == torch.from_numpy(value).dtype


def test_only_what_is_needed_is_read_and_nothing_is_shared_between_calls(storage: Storage) -> None:
    reader = open_knowledge(storage, FOLDER, [GRAPH])
    first = reader.answers(1, 1)
    assert first.keys() == {GRAPH.key, GRAPH.present_key}
    first[GRAPH.key].zero_()
    assert torch.equal(reader.answers(1, 1)[GRAPH.key], torch.from_numpy(answers_of(1, 1)[GRAPH.key]))


def test_a_pickled_reader_reads_the_same(storage: Storage) -> None:
    reader = open_knowledge(storage, FOLDER, [GRAPH, MAP])
    reader.answers(0, 0)
    again = pickle.loads(pickle.dumps(reader))
    assert torch.equal(again.answers(5, 1)[MAP.key], reader.answers(5, 1)[MAP.key])


def test_a_key_that_begins_like_another_is_not_taken_for_it(tmp_path: Path) -> None:
    """order1 and order10, or kernel5 and kernel51, share a beginning but no answer."""
    storage = Storage(tmp_path)
    array = np.zeros((1, 2), np.float32)
    write_shard(storage, FOLDER, 0, {MAP.key: array, f"{MAP.key}0": array, f"{MAP.key}/present": array})
    write_manifest(storage, FOLDER, recipe_of(num_scenes=1, num_views=1), {})
    found = open_knowledge(storage, FOLDER, [MAP]).answers(0, 0)
    assert found.keys() == {MAP.key, f"{MAP.key}/present"}


def refused(storage: Storage, *needs: Need) -> str:
    with pytest.raises(IntraSearchError) as caught:
        open_knowledge(storage, FOLDER, needs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_a_manifest_it_is_not_complete(storage: Storage) -> None:
    storage.delete(f"{FOLDER}/manifest.json")
    assert "must be complete, found no manifest; run the study again" in refused(storage)


def test_another_version_is_refused(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "FORMAT_VERSION", 2)
    assert "must be of version 2, found version 1; delete the folder" in refused(storage)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"version": 1}'])
def test_a_damaged_manifest_is_refused(storage: Storage, text: str) -> None:
    storage.write_bytes(f"{FOLDER}/manifest.json", text.encode())
    assert "manifest.json" in refused(storage) or "must be of version" in refused(storage)


@pytest.mark.parametrize("shard", [0, 1])
def test_a_cut_or_missing_shard_is_refused(storage: Storage, shard: int) -> None:
    path = f"{FOLDER}/{shard_name(shard)}"
    whole = storage.read_bytes(path)
    storage.write_bytes(path, whole[:-1])
    assert f"{shard_name(shard)}: must have {len(whole)} bytes, found {len(whole) - 1} bytes; delete " in refused(
        storage
    )
    storage.delete(path)
    assert "found 0 bytes" in refused(storage)


def test_a_need_that_was_not_stored_is_named(storage: Storage) -> None:
    other = MapNeed("block2")
    assert f"must hold what the trial's losses read, found {other.key}; run the study again" in refused(
        storage, MAP, other
    )


def test_a_shard_altered_inside_is_an_error_of_ours_or_reads(storage: Storage) -> None:
    """The size alone is checked at the start; whatever else is broken must not crash the process."""
    path = f"{FOLDER}/{shard_name(1)}"
    whole = storage.read_bytes(path)
    rng = random.Random(0)
    for _ in range(60):
        position = rng.choice([rng.randrange(len(whole)), rng.randrange(400), len(whole) - 1 - rng.randrange(400)])
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        storage.write_bytes(path, bytes(damaged))
        try:
            open_knowledge(storage, FOLDER, [GRAPH, MAP]).answers(NUM_SCENES - 1, 1)
        except KnowledgeError as error:
            assert shard_name(1) in str(error)  # noqa: PT017 - most damage lies in the numbers and reads


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """Storage that cannot be mapped, and a place of its own for the copies."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    storage = Storage(tmp_path)
    storage._fs, storage._root = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "study"
    write_store(storage)
    return storage


def test_far_shards_are_copied_once_and_read(far: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = torch.from_numpy(answers_of(NUM_SCENES - 1, 0)[MAP.key])
    assert torch.equal(open_knowledge(far, FOLDER, [MAP]).answers(NUM_SCENES - 1, 0)[MAP.key], expected)
    read: list[str] = []
    original = Storage.read_bytes
    monkeypatch.setattr(Storage, "read_bytes", lambda self, path: (read.append(path), original(self, path))[1])
    assert torch.equal(open_knowledge(far, FOLDER, [MAP]).answers(NUM_SCENES - 1, 0)[MAP.key], expected)
    assert read == [f"{FOLDER}/manifest.json"]


def test_a_damaged_copy_is_fetched_again(far: Storage, tmp_path: Path) -> None:
    open_knowledge(far, FOLDER, [MAP])
    copies = sorted((tmp_path / "tmp").rglob("*.arrow"))
    assert len(copies) == 2
    copies[0].write_bytes(copies[0].read_bytes()[:100])
    expected = torch.from_numpy(answers_of(0, 0)[MAP.key])
    assert torch.equal(open_knowledge(far, FOLDER, [MAP]).answers(0, 0)[MAP.key], expected)


def test_manifest_holds_what_its_writer_said(storage: Storage) -> None:
    manifest = read_manifest(storage, FOLDER)
    assert manifest["device_seconds"] == 1.5
    assert manifest["recipe"]["num_views"] == NUM_VIEWS
