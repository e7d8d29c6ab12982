"""The files of a store in other forms than they are written in: one line that names the file, whatever is wrong."""

import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from intra_search.distill.needs import FeatureNeed
from intra_search.errors import KnowledgeError
from intra_search.knowledge.records import Making
from intra_search.knowledge.shards import open_shard
from intra_search.knowledge.store import KnowledgeStore, part_of, shard_about, shard_name
from intra_search.store.storage import Storage
from tests.knowledge.test_store import SOURCE, opened, write_store

NEED = FeatureNeed("block3")
PART = part_of([NEED.key])
MANIFEST, SPEC, ABOUT = f"manifest-{PART}.json", f"spec-{PART}.json", "source.json"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage(tmp_path / "store")
    write_store(storage, NEED)
    return storage


def start_and_read(storage: Storage) -> None:
    """What a driver reads, then what a trial reads."""
    store = KnowledgeStore(storage, SOURCE)
    store.begin(lambda: Making(2, "off"))
    store.missing([NEED.key])
    reader = opened(storage, NEED)
    for scene in range(SOURCE.num_scenes):
        reader.answers(scene, 0)


def refused(storage: Storage) -> str:
    with pytest.raises(KnowledgeError) as caught:
        start_and_read(storage)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def changed(**fields: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content | fields


@pytest.mark.parametrize("name", [MANIFEST, SPEC, ABOUT])
@pytest.mark.parametrize(
    "text", ["", "{", "null", "3", "[]", "[[]]", "{}", '"a"', '{"keys": 1}', "\xff", "[" * 9999, "1" * 9999]
)
def test_a_file_of_another_kind(storage: Storage, name: str, text: str) -> None:
    storage.write_bytes(name, text.encode("latin-1"))
    assert f"{storage.full_path(name)}: must" in refused(storage)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (MANIFEST, changed(hashes={}), "hashes: Value error, no hash of teacher"),
        (MANIFEST, changed(hashes=["teacher"]), "hashes: Input should be"),
        (MANIFEST, changed(hashes={"teacher": 1}), "hashes.teacher: Input should be a valid string"),
        (MANIFEST, changed(num_views="2"), "num_views: Input should be a valid integer"),
        (MANIFEST, changed(num_views=0), "num_views: Input should be greater"),
        (MANIFEST, changed(num_views=True), "num_views: Input should be a valid integer"),
        (MANIFEST, changed(keys="block3"), "keys: Input should be"),
        (MANIFEST, changed(shards={}), "shards: Input should be"),
        (MANIFEST, changed(shards=[None, None]), "shards.0: Input should be"),
        (MANIFEST, changed(shards=[{shard_name(0, PART): "1"}]), "Input should be a valid integer"),
        (MANIFEST, changed(shards=[{"../../x": 1}]), "shards.0.../../x"),
        (MANIFEST, changed(shards=[]), "must answer feature/block3, found none in shard 0"),
        (MANIFEST, changed(shards=[{}, {}]), "must answer feature/block3, found none in shard 0"),
        (MANIFEST, changed(num_views=3), "rows of 3 views per scene"),
        (MANIFEST, lambda content: content | {"more": 1}, "more: Extra inputs"),
        (SPEC, changed(keys=[1]), "keys.0: Input should be a valid string"),
        (ABOUT, changed(hashes=None), "hashes: Input should be"),
        (ABOUT, changed(threads="2"), "threads: Input should be a valid integer"),
        (ABOUT, changed(amp="fp8"), "amp: Input should be 'bf16' or 'off'"),
        (ABOUT, lambda content: {key: content[key] for key in content if key != "threads"}, "threads: Field required"),
    ],
)
def test_fields_of_another_form(
    storage: Storage, name: str, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    storage.write_json(name, change(storage.read_json(name)))
    assert message in refused(storage)


FORM = {"shape": "[2, 3]", "scale": "1.0", "bool": "false"}
VALUES = np.arange(24, dtype=np.float32)


def shard(
    lists: pa.Array | None = None, sums: pa.Array | None = None, batches: tuple[int, ...] = (4,), **form: str
) -> bytes:
    """A file whose checksums are right, in the form that `write_shard` writes but for what is given."""
    lists = pa.FixedSizeListArray.from_arrays(pa.array(VALUES), 6) if lists is None else lists
    if sums is None:
        sums = pa.array([zlib.crc32(row.data) for row in VALUES.reshape(4, 6)], pa.uint32())
    about = {key: value for key, value in (FORM | form).items() if value}
    fields = [pa.field("feature/block3", lists.type, metadata=about), pa.field("feature/block3#crc32", sums.type)]
    schema, file, at = pa.schema(fields, metadata={"file": "x"}), io.BytesIO(), 0
    with pa.ipc.new_file(file, schema) as writer:
        for rows in batches:
            writer.write_batch(pa.record_batch([lists[at : at + rows], sums[at : at + rows]], schema=schema))
            at += rows
    return file.getvalue()


def lists_of(values: pa.Array, size: int = 6) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(values, size)


def test_the_form_that_the_others_depart_from_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(shard())
    column = open_shard(str(tmp_path / "a"), {NEED.key}, {"file": "x"})[NEED.key]
    assert column.row(3).tolist() == VALUES.reshape(4, 2, 3)[3].tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (shard(pa.array(["a"] * 4)), "of type string"),
        (shard(pa.array(VALUES.reshape(4, 6).tolist(), pa.list_(pa.float32()))), "of type list"),
        (shard(lists_of(pa.array(VALUES.astype(np.float64)))), "double"),
        (shard(lists_of(pa.array(["a"] * 24))), "string"),
        (shard(lists_of(pa.nulls(24))), "null"),
        (shard(sums=pa.array([1.0] * 4)), "its checksums of type double"),
        (shard(sums=pa.array([1, 2, None, 4], pa.uint32())), "rows that are empty"),
        (shard(pa.array([[1.0] * 6, None, None, None], pa.list_(pa.float32(), 6))), "rows that are empty"),
        (shard(batches=()), "in batches of [0] rows"),
        (shard(batches=(0,)), "in batches of [0] rows"),
        (shard(batches=(0, 4)), "in batches of [0, 4] rows"),
        (shard(batches=(1, 3)), "in batches of [1, 3] rows"),
        (shard(batches=(2, 1, 1)), "in batches of [2, 1, 1] rows"),
        (shard(shape="[1.5]"), "shape.0: Input should be a valid integer"),
        (shard(shape="[2, 4]"), "6 values in the shape [2, 4]"),
        (shard(shape="[99999999999, 99999999999]"), "6 values in the shape"),
        (shard(shape="[-2, -3]"), "shape.0: Input should be greater than or equal to 1"),
        (shard(shape="6"), "shape: Input should be a valid"),
        (shard(shape="[" * 99999), "must be an undamaged shard"),
        (shard(shape=""), "shape: Field required"),
        (shard(scale="0"), "scale: Input should be greater than 0"),
        (shard(scale="NaN"), "must be an undamaged shard"),
        (shard(scale="1e999"), "must be an undamaged shard"),
        (shard(scale='"1"'), "scale: Input should be a valid number"),
        (shard(bool="2"), "bool: Input should be a valid boolean"),
        (shard(more="2"), "more: Extra inputs"),
    ],
)
def test_a_shard_of_another_form(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(KnowledgeError) as caught:
        open_shard(str(path), {NEED.key}, {"file": "x"})
    assert str(caught.value).startswith(f"{path}: must be an undamaged shard, found ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_shard_of_too_few_rows(storage: Storage) -> None:
    name = shard_name(0, PART)
    about = shard_about(SOURCE.hashes, name)
    short = pa.ipc.open_file(pa.py_buffer(storage.read_bytes(name))).read_all()[:8]
    file = io.BytesIO()
    with pa.ipc.new_file(file, short.schema.with_metadata(about | {})) as writer:
        writer.write_table(short)
    storage.write_bytes(name, file.getvalue())
    manifest = storage.read_json(MANIFEST)
    manifest["shards"][0][name] = len(file.getvalue())
    storage.write_bytes(MANIFEST, json.dumps(manifest).encode())
    assert "found 8 rows of 2 views per scene; delete it" in refused(storage)
