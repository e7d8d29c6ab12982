"""Frames without labels for training (`scenes.unlabelled`): folders of images, other data sets, other drawn scenes.

They are cut, resized and changed like training scenes. A view's labels only say where it shows a frame: 0 there, 255 in
what a zoom or rotation filled.
"""

import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from itertools import accumulate
from pathlib import Path

import numpy as np

from intra_search.config.scenes import DRAWN, ScenesSettings, unlabelled_entry
from intra_search.config.seeding import derived_seed
from intra_search.errors import SceneError, SettingError
from intra_search.scenes.images import IMAGE_SUFFIXES, read_image, sizes_signature
from intra_search.scenes.index import ListedFrame, Listing, Scan, indexed, listing
from intra_search.scenes.labels import ClassMap, SceneClass
from intra_search.scenes.scene_set import SceneSet, open_scenes
from intra_search.scenes.source import Frame, SceneName, SceneSource, Split, no_protocol
from intra_search.scenes.sources import SOURCES
from intra_search.scenes.splits import split_scenes
from intra_search.scenes.views import View

ASPECT_TOLERANCE = 0.05
"""Largest relative difference of aspect ratios: views of other frames would be squeezed differently."""
NUM_MEASURED = 32
"""Frames of each entry whose size is looked at, evenly spread over it."""


class UnlabelledScenes:
    """All frames without labels of a study, in the order of the entries."""

    def __init__(self, parts: Sequence[SceneSet]) -> None:
        self._parts = tuple(parts)
        self._ends = list(accumulate(len(part) for part in parts))
        self.names = tuple(name for part in parts for name in part.names)

    def __len__(self) -> int:
        return self._ends[-1]

    def view(self, index: int, view: int, seed: int) -> View:
        """Like `SceneSet.view`, drawn with other random numbers than the labelled scenes' views. Labels (H, W): 0 where
        the view shows the frame, else 255."""
        place, within = self._place(index)
        return self._parts[place].view(within, view, derived_seed(seed, "unlabelled", place))

    def load(self, index: int) -> Frame:
        """The frame at its own size, labels 0. Raises `SceneError` when it cannot be decoded."""
        place, within = self._place(index)
        return self._parts[place].load(within)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of which frames there are and of the sizes of their files; decodes no file."""
        return sha256("\n".join(["unlabelled", *(part.fingerprint for part in self._parts)]).encode()).hexdigest()

    def _place(self, index: int) -> tuple[int, int]:
        place = bisect_right(self._ends, index)
        return place, index - (self._ends[place - 1] if place else 0)


def open_unlabelled(settings: ScenesSettings) -> UnlabelledScenes | None:
    """The frames of `scenes.unlabelled`; None where it is empty. Lists files, decodes nothing.

    Raises `SettingError` for a missing folder or settings that its frames do not allow, `SceneError` for a folder
    without images."""
    return UnlabelledScenes([_part(settings, entry) for entry in settings.unlabelled]) if settings.unlabelled else None


def check_unlabelled(settings: ScenesSettings, train: SceneSet) -> None:
    """Looks at the frames' names and at some of their sizes.

    Raises `SceneError` for a frame whose aspect ratio is not that of the labelled frames, and for one that `val` or
    `test` holds: what is trained on cannot tell how good a student is."""
    rows, columns = train.cut_size(0)
    held_out = _held_out(settings)
    for entry in settings.unlabelled:
        part = _part(settings, entry)
        _check_aspect(part, columns / rows)
        for index in range(len(part)):
            path = part.image_file(index)
            if path is not None and _real(path) in held_out:
                rule, remedy = "must not hold frames of val or test", "take a folder without them"
                raise SceneError(f"scenes.unlabelled {entry}", rule, str(path), remedy)


def _part(settings: ScenesSettings, entry: str) -> SceneSet:
    """One entry as a set of scenes of one class, 0, which is everywhere."""
    reader, place = unlabelled_entry(entry)
    settings = _settings_of(settings, reader, place)
    if reader is None:
        source: SceneSource = _ImageFolder(Path(place))
    else:
        opened = SOURCES[reader](settings)
        source = _WithoutLabels(opened, split_scenes(opened, settings)["train"], settings)
    if not len(source.scenes):
        raise SceneError(f"scenes.unlabelled {entry}", "must hold images", "none", "check the folder, or remove it")
    if settings.crop_top == "paper":
        source.paper_crop_top(settings.height, settings.width)  # so that it raises now, not at the first frame
    classes = ClassMap(tuple(source.classes), np.zeros(256, np.uint8), None)
    return SceneSet(source, list(range(len(source.scenes))), settings, classes)


def _settings_of(settings: ScenesSettings, reader: str | None, place: str) -> ScenesSettings:
    """The study's, for the entry's own data set. It is split as the study's own if it is the same one."""
    own: dict[str, str | int | None] = {"root": place}
    if reader == DRAWN:
        own = {"root": None, "num_train": int(place), "seed": derived_seed(settings.seed, "unlabelled")}
    elif reader == settings.dataset and settings.root is not None and _real(Path(place)) == _real(Path(settings.root)):
        return settings
    return settings.model_copy(update={"dataset": reader or "folder", "val_groups": (), "test_groups": (), **own})


def _held_out(settings: ScenesSettings) -> set[Path]:
    """Files of the images of `val` and `test`. A data set may lack one of them, which its own opening says."""
    found: set[Path] = set()
    splits: tuple[Split, ...] = ("val", "test")
    for split in splits:
        try:
            scenes = open_scenes(settings, split)
        except SceneError:
            continue
        found |= {_real(path) for index in range(len(scenes)) if (path := scenes.image_file(index)) is not None}
    return found


def _check_aspect(part: SceneSet, wanted: float) -> None:
    for index in range(0, len(part), max(1, len(part) // NUM_MEASURED)):
        rows, columns = part.cut_size(index)
        if abs(columns / rows / wanted - 1) > ASPECT_TOLERANCE:
            where = str(part.image_file(index) or part.names[index])
            rule = f"must have the labelled frames' {wanted:.3g} columns per row, since views are resized alike"
            found = f"{columns} x {rows} after scenes.crop_top, which is {columns / rows:.3g}"
            raise SceneError(where, rule, found, "crop the frames of its folder, or leave them out")


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # unlike `Path.resolve`, it takes a loop of links as it is


class _ImageFolder:
    """All images of a folder and the folders below it, in the order of their names."""

    classes: tuple[SceneClass, ...] = (SceneClass("frame", "frame", (0, 0, 0)),)
    swap: Mapping[int, int] | None = None
    lanes: tuple[int, ...] = ()
    splits: Mapping[Split, Sequence[int]] | None = None

    def __init__(self, root: Path) -> None:
        if not os.path.isdir(root):
            rule, remedy = "must name folders that this machine can read", "correct or remove it"
            raise SettingError("scenes.unlabelled", rule, repr(str(root)), remedy)
        self._root = root
        found = indexed("frames", root, _list_images)
        self._frames, self.scenes = found.frames, found.scenes

    def load(self, index: int) -> Frame:
        image = read_image(self.image_file(index))
        return image, np.zeros(image.shape[:2], np.uint8)

    def image_file(self, index: int) -> Path:
        return self._root / self._frames[index].image

    @staticmethod
    def existence(index: int) -> tuple[bool, ...] | None:
        return None

    @staticmethod
    def paper_crop_top(height: int, width: int) -> int:
        raise no_protocol("a folder of images in scenes.unlabelled")

    def signature(self) -> str:
        return "frames " + sizes_signature(self._root / frame.image for frame in self._frames)


class _WithoutLabels:
    """Some scenes of a data set; files of labels are not read."""

    classes = _ImageFolder.classes
    swap: Mapping[int, int] | None = None
    lanes: tuple[int, ...] = ()
    splits: Mapping[Split, Sequence[int]] | None = None

    def __init__(self, source: SceneSource, indices: Sequence[int], settings: ScenesSettings) -> None:
        self._source = source
        self._indices = indices
        self._is_drawn = settings.dataset == DRAWN
        self.scenes: Sequence[SceneName] = [source.scenes[index] for index in indices]

    def load(self, index: int) -> Frame:
        path = self.image_file(index)
        image = self._source.load(self._indices[index])[0] if path is None else read_image(path)
        return image, np.zeros(image.shape[:2], np.uint8)

    def image_file(self, index: int) -> Path | None:
        return self._source.image_file(self._indices[index])

    @staticmethod
    def existence(index: int) -> tuple[bool, ...] | None:
        return None

    def paper_crop_top(self, height: int, width: int) -> int:
        return self._source.paper_crop_top(height, width)

    def signature(self) -> str:
        if self._is_drawn:
            return f"frames {self._source.signature()}"
        files = (path for index in range(len(self._indices)) if (path := self.image_file(index)) is not None)
        return "frames " + sizes_signature(files)


def _list_images(scan: Scan) -> Listing:
    frames: list[ListedFrame] = []
    seen: set[Path] = set()
    waiting = ["."]
    while waiting:
        folder = waiting.pop()
        real = _real(scan.root / folder)
        if real not in seen:  # a link may lead back
            seen.add(real)
            prefix = "" if folder == "." else f"{folder}/"
            images = (prefix + name for name in scan.files(folder, IMAGE_SUFFIXES))
            frames += [ListedFrame(image, folder, image, "") for image in images]
            waiting += [prefix + name for name in scan.folders(folder)]
    return listing(sorted(frames))
