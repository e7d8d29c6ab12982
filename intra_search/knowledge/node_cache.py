"""A machine's copies of files from object storage, which cannot be mapped: each is fetched once, the oldest go."""

import fcntl
import os
import shutil
import time
import weakref
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from intra_search.errors import KnowledgeError
from intra_search.knowledge.source import hash_of
from intra_search.scenes.cache import cache_root
from intra_search.store.storage import Storage

FETCHES = 8
"""Files under way at a time; object storage answers slowly and many at once."""


class HeldCopies:
    """Copies that stay until this object, and its likes in forks of its process, are gone."""

    def __init__(self, folder: Path, in_use: IO[str]) -> None:
        self.folder = folder
        self.release = weakref.finalize(self, in_use.close)


def node_copies(storage: Storage, files: Mapping[str, int], max_bytes: float, root: Path | None = None) -> HeldCopies:
    """Local copies of files of one remote folder.

    Every process of the machine that asks waits for the first one's fetch. Copies of other folders that nobody reads
    are deleted, the longest unused first, until these fit.

    Args:
        files: bytes of each file by name; a copy of another length is fetched again.
        max_bytes: of all copies on this machine.
        root: where copies are; beside this machine's decoded scenes by default (`INTRA_SEARCH_CACHE`).

    Raises `KnowledgeError` when they cannot fit.
    """
    root = root or cache_root().with_name("knowledge")
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = root / hash_of(storage.uri)[:16]
    with _locked(root / "lock"):
        _make_room(root, folder, sum(files.values()), max_bytes)
        folder.mkdir(exist_ok=True)
        held = HeldCopies(folder, _flocked(folder / "in-use", fcntl.LOCK_SH))
        (folder / "bytes").write_text(str(max(sum(files.values()), _planned(folder))))
        os.utime(folder / "in-use", (time.time(), time.time()))
    with _locked(folder / "fetch"):
        missing = [name for name, size in files.items() if not _is_whole(folder / name, size)]
        with ThreadPoolExecutor(FETCHES) as pool:
            list(pool.map(lambda name: storage.fetch(name, Storage(folder), name), missing))
    return held


def _make_room(root: Path, own: Path, wanted: int, max_bytes: float) -> None:
    others = [path for path in root.iterdir() if path.is_dir() and path != own]
    others.sort(key=lambda path: (path / "in-use").stat().st_mtime if (path / "in-use").exists() else 0.0)
    left = wanted + sum(_planned(path) for path in others)
    for path in others:
        if left <= max_bytes:
            return
        size = _planned(path)
        if not _is_read(path):
            shutil.rmtree(path)
            left -= size
    if left > max_bytes:
        found = f"{left / 1e9:.3g} GB in use and wanted"
        rule = f"must hold copies of at most knowledge.node_cache_gb = {max_bytes / 1e9:.3g}"
        raise KnowledgeError(str(root), rule, found, "raise it, or use knowledge.mode = live")


def _planned(folder: Path) -> int:
    """Bytes that a folder holds, or will when its fetch has ended."""
    try:
        return int((folder / "bytes").read_text())
    except (FileNotFoundError, ValueError):
        return 0


def _is_read(folder: Path) -> bool:
    try:
        _flocked(folder / "in-use", fcntl.LOCK_EX | fcntl.LOCK_NB).close()
    except BlockingIOError:
        return True
    return False


def _is_whole(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size == size


def _flocked(path: Path, operation: int) -> IO[str]:
    file = open(path, "a+")
    try:
        fcntl.flock(file, operation)
    except BlockingIOError:
        file.close()
        raise
    return file


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    file = _flocked(path, fcntl.LOCK_EX)
    try:
        yield
    finally:
        file.close()
