"""Decoded and resized scenes on this machine's disk, so that a JPEG is decoded once, not in every epoch of every trial.

Where: `scenes/` in `local_folder()`, on this machine: a reduced scene fetched over a network takes as long as decoding
its JPEG. It may be deleted at any time. One folder holds the scenes of one data set at one size; its name is a hash of
all that their bytes depend on. Each scene is one Arrow file, renamed into place and memory-mapped by every process, so
all trials of a machine share one copy in memory.

How large: at most `$INTRA_SEARCH_CACHE_GB` (64) in all. To make room, folders that no process reads are deleted, the
longest unused first. Scenes that still have no room are decoded each time. Nothing is written while a twentieth of the
disk or less is free.

When it is valid: a file with a wrong checksum or form is decoded again and replaced. As with stored knowledge, an image
that was overwritten by another one of the same number of bytes is not noticed.
"""

import logging
import os
import shutil
import uuid
import zlib
from pathlib import Path

import PIL
import pyarrow as pa
import torch
import torchvision
from pydantic import BaseModel, ConfigDict, PositiveInt
from torch import Tensor

from intra_search.config.hashing import json_hash
from intra_search.scenes.views import View
from intra_search.store.machine_folders import local_folder
from intra_search.store.shared_folders import hold_folder

logger = logging.getLogger(__name__)

VERSION = 1
DEFAULT_GB = 64.0
FREE_SHARE = 0.05
"""Share of the disk that stays free."""
OVERHEAD_BYTES = 2048
"""Bytes of an Arrow file without its pixels, at most."""
SCENES_PER_FOLDER = 1000
MAX_MAPPED = 4096
"""Scenes that a process keeps memory-mapped; the system allows about 65,000 maps."""
_ABOUT = b"intra_search.scene"


class _SceneForm(BaseModel):
    """What a file of a scene says of itself."""

    model_config = ConfigDict(strict=True)

    size: tuple[PositiveInt, PositiveInt]
    """Rows and columns."""
    channels_last: bool
    """The order in memory is stored, too: later resizing rounds in another way for another order."""
    crc32: int


def scenes_key(*parts: object) -> str:
    """Name of a folder of scenes: a hash of all that their bytes depend on, including the decoders' versions."""
    versions = [VERSION, PIL.__version__, torch.__version__, torchvision.__version__]
    return json_hash([*versions, *parts])[:32]


class SceneCache:
    """The stored scenes of one data set at one size. If something goes wrong here, scenes are decoded again instead.

    Args:
        key: `scenes_key` of all that the scenes' bytes depend on.
        num_scenes: number of scenes in all splits.
        scene_bytes: bytes of one resized scene, at most.
    """

    def __init__(self, key: str, num_scenes: int, scene_bytes: int) -> None:
        self._folder = local_folder() / "scenes" / key
        self._mapped: dict[int, View] = {}
        self._capacity = 0
        self._writes = True
        kept_bytes = scene_bytes + OVERHEAD_BYTES
        try:
            limit = int(float(os.environ.get("INTRA_SEARCH_CACHE_GB", DEFAULT_GB)) * 1e9)
            # The folder cannot be deleted while this object exists.
            self._held = hold_folder(self._folder.parent, key, num_scenes * kept_bytes, limit)
            self._capacity = min(num_scenes, self._held.room // kept_bytes)
        except (OSError, ValueError) as error:
            logger.info("Decoding scenes in every epoch: they cannot be kept in %s (%s)", self._folder, error)

    def read(self, scene: int) -> View | None:
        """A stored scene, which must not be written to; None when it is not stored, or damaged."""
        found = self._mapped.get(scene)
        if found is None and scene < self._capacity:
            found = _read(self._path(scene))
            if found is not None and len(self._mapped) < MAX_MAPPED:
                self._mapped[scene] = found
        return found

    def write(self, scene: int, view: View) -> None:
        """Stores a scene, if there is room for it."""
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


def _write(path: Path, view: View) -> None:
    rows_first = view.image.permute(1, 2, 0)
    channels_last = rows_first.is_contiguous()
    image = rows_first if channels_last else view.image.contiguous()
    pixels = torch.cat([image.reshape(-1), view.labels.reshape(-1)])
    height, width = view.labels.shape
    about = _SceneForm(size=(height, width), channels_last=channels_last, crc32=zlib.crc32(pixels.numpy().data))
    batch = pa.record_batch([pa.array(pixels.numpy())], names=["pixels"])
    batch = batch.replace_schema_metadata({_ABOUT: about.model_dump_json()})
    temporary = path.with_name(f".tmp-{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        # Not flushed to the disk, which would take as long as decoding: after a crash, the checksum shows damage.
        with pa.OSFile(str(temporary), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
            writer.write_batch(batch)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _read(path: Path) -> View | None:
    try:
        with pa.memory_map(str(path)) as file:  # the table keeps the map, but no file descriptor
            table = pa.ipc.open_file(file).read_all()
        table.validate()
        about = _SceneForm.model_validate_json(table.schema.metadata[_ABOUT])
        height, width = about.size
        array = table.column("pixels").chunk(0)
        if array.type != pa.uint8() or array.null_count or len(array) != 4 * height * width:
            return None
        pixels: Tensor = torch.utils.dlpack.from_dlpack(array)
        if zlib.crc32(array.buffers()[1]) != about.crc32:
            return None
    except (pa.ArrowException, OSError, KeyError, IndexError, TypeError, ValueError):
        return None
    image, labels = pixels[: 3 * height * width], pixels[3 * height * width :].view(height, width)
    if about.channels_last:
        return View(image.view(height, width, 3).permute(2, 0, 1), labels)
    return View(image.view(3, height, width), labels)
