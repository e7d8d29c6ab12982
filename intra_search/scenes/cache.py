"""Decoded and reduced scenes on this machine's disk, so that a JPEG is decoded once, not in every epoch of every trial.

Where: below `$INTRA_SEARCH_CACHE`, else in `intra-search-<user id>` of the temporary folder: node-local, since a
reduced scene fetched over a network is no cheaper than its JPEG. It may be deleted at any time. One folder holds the
scenes of one data set at one size, whoever asks: its name is a hash of all that the bytes depend on. One Arrow file per
scene, renamed into place and memory-mapped by every process, so all trials of a machine share one copy in memory.

How large: at most `$INTRA_SEARCH_CACHE_GB` (64) in all. Each folder declares how much it may hold at most. A new one
first evicts folders that nobody has open, longest unused first, and then takes what is left; scenes beyond that are
decoded each time. Nothing is written while a twentieth of the disk or less is free.

When it counts: a file whose checksum or form is wrong is decoded again and replaced. As with stored knowledge, an image
that is overwritten by another one of the very same size in bytes does not show.
"""

import fcntl
import json
import logging
import os
import shutil
import tempfile
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import PIL
import pyarrow as pa
import torch
import torchvision
from torch import Tensor

from intra_search.scenes.views import View

logger = logging.getLogger(__name__)

VERSION = 1
DEFAULT_GB = 64.0
FREE_SHARE = 0.05
"""Share of the disk that is left to others."""
OVERHEAD_BYTES = 2048
"""Of an Arrow file around its pixels, at most."""
SCENES_PER_FOLDER = 1000
MAX_MAPPED = 4096
"""Scenes that a process keeps mapped; a system allows some 65,000 maps."""
_ABOUT = b"intra_search.scene"
_DECLARATION, _LOCK = "set.json", "lock"


def cache_root() -> Path:
    """Where this machine keeps scenes."""
    named = os.environ.get("INTRA_SEARCH_CACHE")
    home = Path(named).expanduser() if named else Path(tempfile.gettempdir()) / f"intra-search-{os.getuid()}"
    return home / "scenes"


def scenes_key(*parts: object) -> str:
    """Name of a folder of scenes: a hash of what its bytes depend on, the versions of the decoders included."""
    versions = [VERSION, PIL.__version__, torch.__version__, torchvision.__version__]
    return sha256(json.dumps([*versions, *parts]).encode()).hexdigest()[:32]


class SceneCache:
    """The kept scenes of one data set at one size. Whatever goes wrong with it only costs decoding.

    Args:
        key: `scenes_key` of all that the scenes' bytes depend on.
        num_scenes: of all splits.
        scene_bytes: of one reduced scene, at most.
    """

    def __init__(self, key: str, num_scenes: int, scene_bytes: int) -> None:
        self._folder = cache_root() / key
        self._mapped: dict[int, View] = {}
        self._capacity = 0
        self._writes = True
        self._lock: int | None = None
        try:
            self._open(num_scenes, scene_bytes + OVERHEAD_BYTES)
        except (OSError, ValueError, KeyError) as error:
            logger.info("Decoding scenes in every epoch: they cannot be kept in %s (%s)", self._folder, error)

    def __del__(self) -> None:
        if self._lock is not None:
            os.close(self._lock)

    def read(self, scene: int) -> View | None:
        """A kept scene, which must not be written to; None when it is not kept or not whole."""
        found = self._mapped.get(scene)
        if found is None and scene < self._capacity:
            found = _read(self._path(scene))
            if found is not None and len(self._mapped) < MAX_MAPPED:
                self._mapped[scene] = found
        return found

    def write(self, scene: int, view: View) -> None:
        """Keeps a scene, if there is room for it."""
        if scene >= self._capacity or not self._writes:
            return
        path = self._path(scene)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            disk = shutil.disk_usage(path.parent)
            if disk.free <= FREE_SHARE * disk.total:
                raise OSError(f"{disk.free / 1e9:.1f} GB are free")
            _write(path, view)
        except OSError as error:
            self._writes = False
            logger.info("Keeping no more scenes in %s: %s", self._folder, error)

    def _path(self, scene: int) -> Path:
        return self._folder / f"{scene // SCENES_PER_FOLDER:05d}" / f"{scene:08d}.arrow"

    def _open(self, num_scenes: int, scene_bytes: int) -> None:
        root = self._folder.parent
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(root / _LOCK):
            self._folder.mkdir(exist_ok=True)
            # Held as long as this process reads from the folder: nobody evicts it meanwhile.
            self._lock = os.open(self._folder / _LOCK, os.O_CREAT | os.O_RDWR)
            fcntl.flock(self._lock, fcntl.LOCK_SH)
            declared = _declared(self._folder)
            if declared is None:
                room = _make_room(root, self._folder, num_scenes * scene_bytes)
                declared = {"scenes": min(num_scenes, room // scene_bytes), "scene_bytes": scene_bytes}
                (self._folder / _DECLARATION).write_text(json.dumps(declared))
            os.utime(self._folder / _DECLARATION)  # its time is that of the last use
        self._capacity = int(declared["scenes"])


def _make_room(root: Path, own: Path, wanted: int) -> int:
    """Bytes that a new folder may hold, after evicting what nobody uses as far as needed."""
    limit = int(float(os.environ.get("INTRA_SEARCH_CACHE_GB", DEFAULT_GB)) * 1e9)
    sizes = {path: _size(path) for path in root.iterdir() if path.is_dir() and path != own}
    for path in sorted(sizes, key=_last_use):
        if limit - sum(sizes.values()) >= wanted:
            break
        if _evict(path):
            del sizes[path]
    return max(0, limit - sum(sizes.values()))


def _evict(folder: Path) -> bool:
    """Deletes a folder unless a process has it open."""
    with _locked(folder / _LOCK, wait=False) as free:
        if not free:
            return False
        doomed = folder.with_name(f".tmp-{folder.name}-{uuid.uuid4().hex[:8]}")
        os.rename(folder, doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    return True


def _size(folder: Path) -> int:
    declared = _declared(folder)
    return 0 if declared is None else int(declared["scenes"]) * int(declared["scene_bytes"])


def _last_use(folder: Path) -> float:
    try:
        return os.stat(folder / _DECLARATION).st_mtime
    except OSError:
        return 0.0


def _declared(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / _DECLARATION).read_text())
        return {"scenes": int(found["scenes"]), "scene_bytes": int(found["scene_bytes"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def _locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Holds a file's lock for the block; without `wait` the block learns whether it holds it."""
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


def _write(path: Path, view: View) -> None:
    rows_first = view.image.permute(1, 2, 0)
    # Later resizing takes another way, with other roundings, for another order in memory: it is kept too.
    channels_last = rows_first.is_contiguous()
    image = rows_first if channels_last else view.image.contiguous()
    pixels = torch.cat([image.reshape(-1), view.labels.reshape(-1)])
    about = {"size": list(view.labels.shape), "channels_last": channels_last, "crc32": zlib.crc32(pixels.numpy().data)}
    batch = pa.record_batch([pa.array(pixels.numpy())], names=["pixels"])
    batch = batch.replace_schema_metadata({_ABOUT: json.dumps(about)})
    temporary = path.with_name(f".tmp-{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        # Not flushed to the disk, which would take as long as decoding: the checksum tells what a crash has torn.
        with pa.OSFile(str(temporary), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
            writer.write_batch(batch)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _read(path: Path) -> View | None:
    try:
        with pa.memory_map(str(path)) as file:  # what is read keeps the map, without a file descriptor
            table = pa.ipc.open_file(file).read_all()
        table.validate()
        about = json.loads(table.schema.metadata[_ABOUT])
        height, width = about["size"]
        array = table.column("pixels").chunk(0)
        pixels: Tensor = torch.utils.dlpack.from_dlpack(array)
        if len(pixels) != 4 * height * width or zlib.crc32(array.buffers()[1]) != about["crc32"]:
            return None
    except (pa.ArrowException, OSError, KeyError, IndexError, TypeError, ValueError):
        return None
    image, labels = pixels[: 3 * height * width], pixels[3 * height * width :].view(height, width)
    if about["channels_last"]:
        return View(image.view(height, width, 3).permute(2, 0, 1), labels)
    return View(image.view(3, height, width), labels)
