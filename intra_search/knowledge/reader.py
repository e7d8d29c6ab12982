"""Reads stored knowledge. Files are memory-mapped, so that all trials of a machine share one copy in memory."""

from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any

from torch import Tensor

from intra_search.distill.needs import Need, belongs_to
from intra_search.errors import KnowledgeError
from intra_search.knowledge.node_cache import node_copies
from intra_search.knowledge.records import Manifest, delete_and_repeat, sizes_of
from intra_search.knowledge.shards import Column, damaged, open_shard
from intra_search.knowledge.source import SCENES_PER_SHARD, check_hashes
from intra_search.knowledge.store import read_manifest, shard_about
from intra_search.store.shared_folders import HeldFolder
from intra_search.store.storage import Storage


def open_knowledge(
    storage: Storage, needs: Iterable[Need], expected: Mapping[str, str], *, node_cache_gb: float
) -> "KnowledgeReader":
    """Opens the store at `storage` for the given needs.

    Args:
        expected: hashes that the store must have, such as `scene_hashes` of the trial's own scenes.
        node_cache_gb: most that this machine's copies may take, if the store is on object storage.

    Raises `KnowledgeError` for a store about something else, an incomplete one, or one that lacks a need.
    """
    keys = {need.key for need in needs}
    manifest = read_manifest(storage, keys)
    check_hashes(storage.full_path(), manifest.hashes, expected)
    if storage.is_local:
        return KnowledgeReader(Path(storage.full_path()), manifest, keys)
    copies = node_copies(storage, sizes_of(manifest.shards), node_cache_gb * 1e9)
    return KnowledgeReader(copies.path, manifest, keys, copies)


class KnowledgeReader:
    """Answers about views, by scene and view number. Opens a shard at its first use; open shards are not pickled."""

    def __init__(self, folder: Path, manifest: Manifest, keys: set[str], copies: HeldFolder | None = None) -> None:
        self._folder = folder
        self._manifest = manifest
        self._keys = keys
        self._copies = copies
        self._shards: dict[int, dict[str, tuple[str, Column]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        # The process that opened the store keeps its local copies from being deleted, also for its child processes.
        return {**self.__dict__, "_shards": {}, "_copies": None}

    def answers(self, scene: int, view: int, keys: Set[str] | None = None) -> dict[str, Tensor]:
        """Stored answers about one view, by the keys of the needs: float32 or bool. Do not write to them.

        `keys`: of the needs whose answers are read; none: all for which the store was opened."""
        shard, within = divmod(scene, SCENES_PER_SHARD)
        if shard not in self._shards:
            self._shards[shard] = self._opened(shard)
        row = within * self._manifest.num_views + view
        found = {}
        for name, (path, column) in self._shards[shard].items():
            if keys is not None and not any(belongs_to(name, key) for key in keys):
                continue
            try:
                found[name] = column.row(row)
            except (ValueError, IndexError) as error:
                raise damaged(path, str(error)) from None
        return found

    def _opened(self, shard: int) -> dict[str, tuple[str, Column]]:
        columns: dict[str, tuple[str, Column]] = {}
        for name in self._manifest.shards[shard] if shard < len(self._manifest.shards) else ():
            path = str(self._folder / name)
            found = open_shard(path, self._keys, shard_about(self._manifest.hashes, name))
            for column in found.values():
                self._check_rows(path, shard, len(column.sums))
            columns = {key: (path, column) for key, column in found.items()} | columns
        lacking = sorted(key for key in self._keys if not any(belongs_to(name, key) for name in columns))
        if lacking:
            where = str(self._folder)
            raise KnowledgeError(where, f"must answer {lacking[0]}", f"none in shard {shard}", delete_and_repeat(where))
        return columns

    def _check_rows(self, path: str, shard: int, rows: int) -> None:
        views = self._manifest.num_views
        most, is_last = SCENES_PER_SHARD * views, shard + 1 == len(self._manifest.shards)
        if rows > most or rows % views or (rows < most and not is_last):
            raise damaged(path, f"{rows} rows of {views} views per scene")
