"""Folders that the processes of one machine share. A folder is held while a process uses it; to make room, the folder
that was unused the longest is deleted.

Such folders lie side by side below one root. Each reserves, in `room.json`, the bytes that it may grow to. All locks
are `flock`s, which end with their process.
"""

import fcntl
import json
import os
import shutil
import uuid
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ROOM, _LOCK = "room.json", "lock"


class HeldFolder:
    """A folder that cannot be deleted for room while this object, or a copy of it in a forked process, exists."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.room = 0
        """Bytes that the folder may hold."""
        self.release = weakref.finalize(self, os.close, descriptor)


def hold_folder(root: Path, name: str, wanted: int, limit: int) -> HeldFolder:
    """The folder `root/name`, created if needed, with room for `wanted` bytes, or for as many as are left.

    Folders that no process holds are deleted, the longest unused first, until there is room.

    Args:
        limit: bytes that all folders below the root may hold together.

    Raises `OSError` where the root cannot be written.
    """
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = root / name
    with locked(root / _LOCK):
        folder.mkdir(exist_ok=True)
        descriptor = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR)
        held = HeldFolder(folder, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        held.room = _room(folder)
        if held.room < wanted:
            held.room = max(held.room, min(wanted, _make_room(root, folder, wanted, limit)))
            (folder / _ROOM).write_text(json.dumps({"bytes": held.room}))
        os.utime(folder / _ROOM)  # its modification time is the folder's last use
    return held


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Holds a file's lock during the block. With `wait=False` it may fail to: the value says whether it holds it."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            held = True
        except BlockingIOError:
            held = False
        yield held
    finally:
        os.close(descriptor)


def _make_room(root: Path, own: Path, wanted: int, limit: int) -> int:
    """Bytes that are left for `own`, after deleting unused folders as far as needed."""
    rooms = {path: _room(path) for path in root.iterdir() if path.is_dir() and path != own}
    for path in sorted(rooms, key=_last_use):
        if limit - sum(rooms.values()) >= wanted:
            break
        if _evict(path):
            del rooms[path]
    return max(0, limit - sum(rooms.values()))


def _evict(folder: Path) -> bool:
    """Deletes a folder unless a process holds it."""
    with locked(folder / _LOCK, wait=False) as free:
        if not free:
            return False
        doomed = folder.with_name(f".tmp-{folder.name}-{uuid.uuid4().hex[:8]}")
        os.rename(folder, doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    return True


def _room(folder: Path) -> int:
    try:
        return int(json.loads((folder / _ROOM).read_text())["bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _last_use(folder: Path) -> float:
    try:
        return os.stat(folder / _ROOM).st_mtime
    except OSError:
        return 0.0
