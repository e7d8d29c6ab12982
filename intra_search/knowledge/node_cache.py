"""A machine's copies of files from object storage, which cannot be memory-mapped. Each file is fetched once."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from intra_search.config.hashing import json_hash
from intra_search.errors import KnowledgeError
from intra_search.store.machine_folders import local_folder
from intra_search.store.shared_folders import HeldFolder, hold_folder, locked
from intra_search.store.storage import Storage

FETCHES = 8
"""Files fetched at the same time: object storage answers slowly, but many requests at once."""


def node_copies(storage: Storage, files: Mapping[str, int], max_bytes: float, root: Path | None = None) -> HeldFolder:
    """A local folder with copies of some files of one remote folder.

    One process fetches them, all others on this machine wait for it. Copies of other folders that no process reads are
    deleted, the longest unused first, until these fit.

    Args:
        files: bytes of each file by name; a copy of another length is fetched again.
        max_bytes: bytes of all copies on this machine.
        root: where copies are; none: `knowledge/` in `local_folder()`.

    Raises `KnowledgeError` when they cannot fit.
    """
    root = root or local_folder() / "knowledge"
    wanted = sum(files.values())
    held = hold_folder(root, json_hash(storage.uri)[:16], wanted, int(max_bytes))
    if held.room < wanted:
        held.release()
        rule = f"must hold copies of at most knowledge.node_cache_gb = {max_bytes / 1e9:.3g}"
        found = f"room for {held.room / 1e9:.3g} of {wanted / 1e9:.3g} GB, the rest being read"
        raise KnowledgeError(str(root), rule, found, "raise it, or use knowledge.mode = live")
    with locked(held.path / "fetch"):
        missing = [name for name, size in files.items() if not _is_whole(held.path / name, size)]
        with ThreadPoolExecutor(FETCHES) as pool:
            list(pool.map(lambda name: storage.fetch(name, Storage(held.path), name), missing))
    return held


def _is_whole(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size == size
