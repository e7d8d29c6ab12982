"""Reads stored knowledge: memory-mapped, so that all trials of a machine share one copy in memory."""

import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from intra_search.distill.needs import Need
from intra_search.errors import KnowledgeError
from intra_search.knowledge.shards import SCENES_PER_SHARD, read_manifest
from intra_search.store.storage import Storage


def open_knowledge(storage: Storage, folder: str, needs: Iterable[Need]) -> "KnowledgeReader":
    """Opens a store for the given needs. Raises `KnowledgeError` for an incomplete store or a need it lacks."""
    manifest = read_manifest(storage, folder)
    recipe = manifest["recipe"]
    missing = sorted({need.key for need in needs} - set(recipe["keys"]))
    if missing:
        remedy = "run the study again: it extracts what its space may ask for"
        raise KnowledgeError(storage.full_path(folder), "must hold what the trial's losses read", missing[0], remedy)
    paths = [_local_path(storage, folder, name, size) for name, size in sorted(manifest["shards"].items())]
    return KnowledgeReader(paths, recipe["num_views"], {need.key for need in needs})


class KnowledgeReader:
    """Answers about views, by scene and view number. Opens each shard when it is first read; pickles as its paths."""

    def __init__(self, paths: list[str], num_views: int, keys: set[str]) -> None:
        self._paths = paths
        self._num_views = num_views
        self._keys = keys
        self._shards: dict[int, dict[str, _Column]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shards": {}}

    def answers(self, scene: int, view: int) -> dict[str, Tensor]:
        """Copies of the stored answers about one view, under the keys of the needs."""
        shard, within = divmod(scene, SCENES_PER_SHARD)
        if shard not in self._shards:
            self._shards[shard] = _mapped(self._paths[shard], self._keys)
        row = within * self._num_views + view
        return {key: column.row(row) for key, column in self._shards[shard].items()}


class _Column(NamedTuple):
    values: NDArray[Any]
    """(rows, width), a view of the mapped file."""
    shape: tuple[int, ...]
    is_bool: bool

    def row(self, number: int) -> Tensor:
        # The copy is small, and torch wants writable memory, which a read-only map is not.
        values = torch.from_numpy(np.array(self.values[number])).view(self.shape)
        return values.bool() if self.is_bool else values


def _mapped(path: str, keys: set[str]) -> dict[str, _Column]:
    try:
        return _columns(pa.ipc.open_file(pa.memory_map(path)).read_all(), keys)
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        # Its size is that of the manifest, so it was altered after it was written.
        remedy = "delete its folder and run the study again"
        raise KnowledgeError(path, "must be an undamaged shard", str(error), remedy) from None


def _columns(table: pa.Table, keys: set[str]) -> dict[str, _Column]:
    table.validate()
    columns = {}
    for key in table.column_names:
        if key not in keys and key.rpartition("/")[0] not in keys:
            continue  # a need's further answers, such as `<key>/present`, lie below its key
        about = table.schema.field(key).metadata
        chunk = table.column(key).chunk(0)
        values = chunk.flatten().to_numpy(zero_copy_only=True).reshape(int(about[b"rows"]), -1)
        columns[key] = _Column(values, tuple(json.loads(about[b"shape"])), about[b"dtype"] == b"bool")
    return columns


def _local_path(storage: Storage, folder: str, name: str, size: int) -> str:
    if storage.is_local:
        return storage.full_path(f"{folder}/{name}")
    # Object storage cannot be mapped: one copy per machine, published by rename, so that workers may race for it.
    copy = Path(tempfile.gettempdir()) / f"intra-search-{os.getuid()}" / folder / name
    if not copy.exists() or copy.stat().st_size != size:
        Storage(copy.parent).write_bytes(name, storage.read_bytes(f"{folder}/{name}"))
    return str(copy)
