"""One split of a data set, as networks get it: views for training, one fixed view for evaluation."""

from functools import cached_property
from hashlib import sha256
from math import ceil
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from intra_search.config.scenes import ScenesSettings
from intra_search.errors import SceneError, SettingError
from intra_search.scenes.cache import SceneCache, scenes_key
from intra_search.scenes.images import image_size
from intra_search.scenes.labels import ClassMap, SceneClass, class_map, swap_table
from intra_search.scenes.source import Frame, SceneSource, Split
from intra_search.scenes.sources import SOURCES
from intra_search.scenes.splits import check_not_empty, split_scenes
from intra_search.scenes.views import (
    View,
    copied,
    draw_view,
    evaluation_view,
    is_flipped,
    training_base,
    view_generator,
)

_Kind = Literal["evaluation", "training"]


class WholeFrame(NamedTuple):
    """What a benchmark's own metric needs of a scene."""

    name: str
    labels: NDArray[np.uint8]
    """(h, w): trained classes, at the frame's own size."""
    cut: int
    """Rows cut from the top before a network sees the frame."""


def open_scenes(settings: ScenesSettings, split: Split) -> "SceneSet":
    """Opens one split: lists files and reads tables, decodes nothing.

    Raises `SettingError` for settings that this data set does not allow, `SceneError` for a data set in which
    something is wrong that can be found without decoding (a missing mask, an empty split)."""
    source = SOURCES[settings.dataset](settings)
    classes = class_map(
        source.classes,
        source.swap,
        by_category=settings.classes == "category",
        ignored_class=settings.ignored_class,
    )
    if settings.augment.flip and classes.swap is None:
        rule = "needs to know which class each becomes in a mirror"
        remedy = "add a swap column to classes.csv, or --set scenes.augment.flip=false"
        raise SettingError("scenes.augment.flip", rule, f"no such table for {settings.classes} classes", remedy)
    if settings.crop_top == "paper":
        source.paper_crop_top(settings.height, settings.width)  # so that it raises now, not at the first scene
    indices = split_scenes(source, settings)[split]
    check_not_empty(split, indices)
    return SceneSet(source, indices, settings, classes)


class SceneSet:
    """Scenes of one split. Can be pickled; the copy opens its cache anew."""

    def __init__(self, source: SceneSource, indices: list[int], settings: ScenesSettings, classes: ClassMap) -> None:
        self._source = source
        self._indices = indices
        self._settings = settings
        self._class_map = classes
        self._swap = swap_table(classes.swap) if classes.swap else None
        self._lanes = source.lanes if settings.classes == "fine" else ()
        self._caches: dict[_Kind, SceneCache] = {}
        self._flags: dict[int, tuple[bool, ...]] = {}
        self.classes: tuple[SceneClass, ...] = classes.classes
        """Trained classes by label; 255 is ignored."""
        self.num_lanes = len(self._lanes)
        """Lanes whose existence a network may predict; 0: none."""
        self.names = tuple(source.scenes[index].name for index in indices)
        self.groups = tuple(source.scenes[index].group for index in indices)

    def __len__(self) -> int:
        return len(self._indices)

    def view(self, index: int, view: int, seed: int) -> View:
        """Training view of a scene: image (3, H, W) and labels (H, W), uint8. It depends on the arguments alone."""
        base = self._reduced("training" if self._zooms_in else "evaluation", index)
        return draw_view(base, self._settings, self._swap, view_generator(seed, index, view))

    def evaluation(self, index: int) -> View:
        """The view that metrics are computed on: cut and resized, without random changes."""
        return copied(self._reduced("evaluation", index))

    def existence(self, index: int, view: int | None = None, seed: int = 0) -> Tensor:
        """Which lanes a scene has: (num_lanes,) float32 of 0 and 1, in the order of the classes 1, 2, …

        For a training view they follow its flip; without `view` they are those of the evaluation view. They describe
        the whole frame, as in the authors' code: a lane counts even if crop or rotation move it out of the view."""
        flags = self._flags.get(index)
        if flags is None:
            flags = self._flags[index] = self._lanes_of(index)
        found = torch.tensor(flags, dtype=torch.float32)
        flipped = view is not None and is_flipped(self._settings, view_generator(seed, index, view))
        return found[self._mirrored_lanes()] if flipped else found

    def load(self, index: int) -> Frame:
        """The scene at its own size: image (h, w, 3) RGB and labels (h, w) in trained classes, uint8.

        Raises `SceneError` when it cannot be decoded or used."""
        image, labels = self._source.load(self._indices[index])
        return image, self._class_map.table[labels]

    def image_file(self, index: int) -> Path | None:
        """The file of a scene's image; None for a scene that is drawn."""
        return self._source.image_file(self._indices[index])

    def cut_size(self, index: int) -> tuple[int, int]:
        """Rows and columns of what is left of a frame after the cut. Reads the head of its file only."""
        path = self.image_file(index)
        height, width = self.load(index)[1].shape if path is None else image_size(path)
        return height - self._cut(index, height, width), width

    def whole_frame(self, index: int) -> WholeFrame:
        """The whole frame of the evaluation view, decoded. Raises what `load` raises."""
        labels = self.load(index)[1]
        return WholeFrame(self.names[index], labels, self._cut(index, *labels.shape))

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all that defines the data set: its kind, its trained classes, what each stored label becomes and its
        mirror, all scenes of all splits with their groups, and the sizes of their files (for drawn scenes: seed, size
        and the first scene). Decodes no file."""
        parts = [
            self._settings.dataset,
            *(row.name for row in self.classes),
            "labels",
            self._class_map.table.tobytes().hex(),
            "no mirror" if self._swap is None else self._swap.tobytes().hex(),
            "scenes",
            *(f"{scene.name}\t{scene.group}" for scene in self._source.scenes),
            self._source.signature(),
        ]
        return sha256("\n".join(parts).encode()).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_caches": {}}

    def _lanes_of(self, index: int) -> tuple[bool, ...]:
        flags = self._source.existence(self._indices[index]) if self._lanes else ()
        if flags is None:
            labels = self._source.load(self._indices[index])[1]
            present = np.bincount(labels.ravel(), minlength=256) > 0
            flags = tuple(bool(present[label]) for label in self._lanes)
        return flags

    def _mirrored_lanes(self) -> list[int]:
        """For each lane, the lane that is in its place after a flip."""
        swap = self._source.swap or {}
        return [self._lanes.index(swap.get(label, label)) for label in self._lanes]

    @property
    def _zooms_in(self) -> bool:
        return self._settings.augment.scale[1] > 1

    def _reduced(self, kind: _Kind, index: int) -> View:
        cache = self._cache(kind) if self._settings.cache else None
        kept = cache.read(self._indices[index]) if cache else None
        if kept is not None:
            return kept
        image, labels = self.load(index)
        reduce = training_base if kind == "training" else evaluation_view
        view = reduce(image, labels, self._settings, self._cut(index, *labels.shape))
        if cache:
            cache.write(self._indices[index], view)
        return view

    def _cache(self, kind: _Kind) -> SceneCache:
        if kind not in self._caches:
            settings = self._settings
            zoom = max(1.0, settings.augment.scale[1]) if kind == "training" else 1.0
            size = [settings.height, settings.width, zoom, settings.crop_top]
            meaning = [self.fingerprint, settings.classes, settings.ignored_class]
            root = None if settings.root is None else str(Path(settings.root).resolve())
            pixels = ceil(settings.height * zoom) * ceil(settings.width * zoom)
            key = scenes_key(kind, *size, *meaning, root)
            self._caches[kind] = SceneCache(key, len(self._source.scenes), 4 * pixels)
        return self._caches[kind]

    def _cut(self, index: int, height: int, width: int) -> int:
        """Rows to cut from the top of a frame."""
        share = self._settings.crop_top
        cut = self._source.paper_crop_top(height, width) if share == "paper" else round(share * height)
        if cut >= height:
            rule = "crop_top must leave rows of every frame"
            raise SceneError(self.names[index], rule, f"{cut} of {height} rows cut", "lower scenes.crop_top")
        return cut
