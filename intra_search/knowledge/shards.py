"""Stored knowledge on disk: Arrow files of fixed groups of scenes, and a manifest that says what they answer.

Row (scene - first scene of the shard) * views + view of a shard holds the answers about one view; each column is one
answer, its values flattened, its shape in the schema.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from intra_search.errors import KnowledgeError
from intra_search.store.storage import Storage

FORMAT_VERSION = 1
SCENES_PER_SHARD = 64
MANIFEST = "manifest.json"


class Recipe(NamedTuple):
    """All that the stored answers depend on; its hash names their folder."""

    teacher: str
    """SHA-256 of the teacher's weights."""
    scenes: str
    """Fingerprint of the training scenes."""
    views: dict[str, Any]
    """Settings and seed from which views are drawn."""
    keys: tuple[str, ...]
    """Keys of the needs, sorted."""
    num_scenes: int
    num_views: int

    @property
    def hash(self) -> str:
        text = json.dumps([FORMAT_VERSION, SCENES_PER_SHARD, *self], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def num_shards(self) -> int:
        return -(-self.num_scenes // SCENES_PER_SHARD)

    def scenes_of(self, shard: int) -> range:
        return range(shard * SCENES_PER_SHARD, min((shard + 1) * SCENES_PER_SHARD, self.num_scenes))


def shard_name(shard: int) -> str:
    return f"shard-{shard:05d}.arrow"


def write_shard(storage: Storage, folder: str, shard: int, answers: Mapping[str, NDArray[Any]]) -> None:
    """Publishes one shard; `answers` holds arrays (rows, ...) in row order."""
    columns, fields = [], []
    for key, array in sorted(answers.items()):
        rows, width = len(array), int(np.prod(array.shape[1:]))
        dtype = array.dtype if array.dtype != np.bool_ else np.dtype(np.uint8)
        flat = pa.array(np.ascontiguousarray(array, dtype).reshape(-1))
        columns.append(pa.FixedSizeListArray.from_arrays(flat, width))
        about = {"shape": json.dumps(array.shape[1:]), "dtype": str(array.dtype), "rows": str(rows)}
        fields.append(pa.field(key, columns[-1].type, metadata=about))
    batch = pa.record_batch(columns, schema=pa.schema(fields))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    storage.write_bytes(f"{folder}/{shard_name(shard)}", sink.getvalue().to_pybytes())


def write_manifest(storage: Storage, folder: str, recipe: Recipe, about: dict[str, Any]) -> None:
    """Publishes the store: from now on it counts as complete."""
    shards = {shard_name(shard): storage.size(f"{folder}/{shard_name(shard)}") for shard in range(recipe.num_shards)}
    manifest = {"version": FORMAT_VERSION, "recipe": recipe._asdict(), "shards": shards, **about}
    storage.write_json(f"{folder}/{MANIFEST}", manifest)


def read_manifest(storage: Storage, folder: str) -> dict[str, Any]:
    """Raises `KnowledgeError` when there is none of this version, or when a shard is missing or truncated."""
    where = storage.full_path(folder)
    if not storage.exists(f"{folder}/{MANIFEST}"):
        raise KnowledgeError(where, "must be complete", "no manifest", "run the study again to extract the rest")
    manifest = storage.read_json(f"{folder}/{MANIFEST}")
    version = manifest.get("version") if isinstance(manifest, dict) else None
    if version != FORMAT_VERSION or not {"recipe", "shards"} <= set(manifest):
        found = "another form" if version in (FORMAT_VERSION, None) else f"version {version}"
        raise KnowledgeError(where, f"must be of version {FORMAT_VERSION}", found, "delete the folder and run again")
    for name, size in manifest["shards"].items():
        found_size = storage.size(f"{folder}/{name}")
        if found_size != size:
            rule, found = f"must have {size} bytes", f"{found_size or 0} bytes"
            raise KnowledgeError(f"{where}/{name}", rule, found, f"delete {where} and run the study again")
    return dict(manifest)
