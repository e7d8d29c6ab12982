"""Indexes: the list of a data set's files, stored in an Arrow file, so that 100,000 frames open in under a second.

Where: `indexes/` in `lasting_folder()`; a file per data set and root, never inside the data set's own folder. It may be
deleted at any time.

When it is valid: every folder and table (text file) that the listing looked at still has the same modification time
(tables: and size), and those that were missing are still missing. Adding, removing or renaming a file changes its
folder's time. Overwriting a file does not, but it does not change the listing either; `SceneSource.signature` notices
its new size. A listing is not stored if something that it saw changed in the last two seconds: one more change within
the same tick of the clock could not be noticed (git's index has the same rule).

Several processes may list at the same time: each writes its own file and renames it into place.
"""

import json
import logging
import os
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from pydantic import ConfigDict, TypeAdapter

from intra_search.errors import SceneError, StorageError
from intra_search.scenes.files import check_names
from intra_search.scenes.images import sizes_signature
from intra_search.scenes.rows import Rows
from intra_search.scenes.source import SceneName
from intra_search.store.machine_folders import lasting_folder
from intra_search.store.storage import Storage

logger = logging.getLogger(__name__)

VERSION = 1
"""Part of an index's name: raise it when the rules of listing change, so that old indexes are not used."""
SETTLED_SECONDS = 2.0

State = tuple[int, ...] | None
"""Modification time (for a table also its size) of something that a listing looked at; None: it did not exist."""
_STATE_KEY = b"intra_search.state"
_NOTES_KEY = b"intra_search.notes"
_STRICT = ConfigDict(strict=True)
_STATES: TypeAdapter[dict[str, State]] = TypeAdapter(dict[str, State], config=_STRICT)
_NOTES: TypeAdapter[list[str]] = TypeAdapter(list[str], config=_STRICT)


def frames_signature(root: Path, frames: "Iterable[ListedFrame]") -> str:
    """Hash of the sizes of all frames' files: it shows, without reading any, that a data set was replaced."""
    return sizes_signature(root / name for frame in frames for name in (frame.image, frame.label))


class ListedFrame(NamedTuple):
    """One frame of a listing. Paths are relative to the data set's root, with `/`."""

    name: str
    group: str
    image: str
    label: str
    split: str = ""
    """The data set's own split, if it has one."""
    lanes: str = ""
    """Existence flags such as `0111`, if a list gives them."""


class Listing(NamedTuple):
    """All frames of a data set, and notes for its user."""

    frames: Rows[ListedFrame]
    notes: list[str]
    """Logged at every opening: what is missing, what was left out."""

    @property
    def scenes(self) -> Rows[SceneName]:
        """Names and groups of the frames."""
        return Rows(SceneName, self.frames.column(0), self.frames.column(1))

    @property
    def places(self) -> dict[str, list[int]]:
        """For each split that occurs, the indices of its frames."""
        found: dict[str, list[int]] = {}
        for index, split in enumerate(self.frames.column(ListedFrame._fields.index("split"))):
            found.setdefault(split, []).append(index)
        return found


def listing(frames: Iterable[ListedFrame], notes: Iterable[str] = ()) -> Listing:
    """A listing of frames in the given order."""
    columns: Iterable[Sequence[str]] = list(zip(*frames, strict=True)) or [()] * len(ListedFrame._fields)
    return Listing(Rows(ListedFrame, *columns), list(notes))


class Scan:
    """Lists folders and opens tables below a root, and records their states. Raises `SceneError` for a file in a
    folder's place, a loop of links, what may not be read, and names that are not UTF-8."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.states: dict[str, State] = {}

    def files(self, folder: str, suffixes: tuple[str, ...]) -> list[str]:
        """Sorted names of files with one of the suffixes, in any case; none if the folder is missing."""
        names = [name for name in self._names(folder, folders=False) if name.lower().endswith(suffixes)]
        check_names(self.root / folder, names)
        return names

    def folders(self, folder: str) -> list[str]:
        """Sorted names of the folders directly below one."""
        names = self._names(folder, folders=True)
        check_names(self.root / folder, names)
        return names

    def exists(self, folder: str) -> bool:
        """Whether a folder is there."""
        return self._noted(folder) is not None

    def table(self, name: str) -> Path:
        """Path of a text file that the listing depends on."""
        self.states.setdefault(name, _state(self.root, name))
        return self.root / name

    def _noted(self, folder: str) -> State:
        # Recorded before the folder is read: so a change while it is read is noticed later.
        return self.states.setdefault(folder, _state(self.root, folder))

    def _names(self, folder: str, *, folders: bool) -> list[str]:
        if self._noted(folder) is None:
            return []
        try:
            with os.scandir(self.root / folder) as entries:
                return sorted(entry.name for entry in entries if entry.name[0] != "." and entry.is_dir() == folders)
        except OSError as error:
            rule, remedy = "folders and links must be readable", "check links, permissions and the data set's layout"
            where = error.filename or str(self.root / folder)
            raise SceneError(where, rule, error.strerror, remedy) from None


def indexed(kind: str, root: Path, list_frames: Callable[[Scan], Listing], cache: Path | None = None) -> Listing:
    """The listing of a data set: from its index if that is still valid, else by `list_frames`, and then stored.

    If something is wrong with the index itself (it cannot be written, it is damaged), the data set is listed again. If
    `list_frames` raises an error, nothing is stored."""
    storage = Storage(cache or lasting_folder())
    path = f"indexes/{kind}-{sha256(os.fsencode(f'{VERSION} {root.resolve()}')).hexdigest()[:32]}.arrow"
    found = _read(storage, path, root)
    if found is None:
        scan = Scan(root)
        started = time.time()
        found = list_frames(scan)
        newest = max((state[0] for state in scan.states.values() if state), default=0)
        if started - newest / 1e9 >= SETTLED_SECONDS:
            _write(storage, path, found, scan.states)
    for note in found.notes:
        logger.warning("%s: %s", root, note)
    return found


def _state(root: Path, name: str) -> State:
    try:
        found = os.stat(root / name)
    except OSError:
        return None
    return (found.st_mtime_ns,) if stat.S_ISDIR(found.st_mode) else (found.st_mtime_ns, found.st_size)


def _read(storage: Storage, path: str, root: Path) -> Listing | None:
    try:
        with pa.memory_map(storage.full_path(path)) as file:
            table = pa.ipc.open_file(file).read_all()
        metadata = table.schema.metadata
        states, notes = _STATES.validate_json(metadata[_STATE_KEY]), _NOTES.validate_json(metadata[_NOTES_KEY])
        stored = [table.column(name) for name in ListedFrame._fields]
        if any(column.type != pa.string() or column.null_count for column in stored):
            return None
        columns = [column.to_pylist() for column in stored]
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None
    for name, state in states.items():
        if _state(root, name) != state:
            return None
    return Listing(Rows(ListedFrame, *columns), notes)


def _write(storage: Storage, path: str, found: Listing, states: dict[str, State]) -> None:
    arrays = [pa.array(found.frames.column(place), pa.string()) for place in range(len(ListedFrame._fields))]
    metadata = {_STATE_KEY: json.dumps(states), _NOTES_KEY: json.dumps(found.notes)}
    table = pa.table(arrays, names=list(ListedFrame._fields)).replace_schema_metadata(metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    try:
        storage.write_bytes(path, sink.getvalue().to_pybytes())
    except (StorageError, OSError) as error:
        logger.info("Listing this data set anew at every start: its index cannot be kept (%s)", error)
