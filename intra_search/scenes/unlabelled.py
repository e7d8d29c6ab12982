"""The frames that a benchmark's own server scores: pictures without labels, and the names that predictions need."""

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from intra_search.config.scenes import ScenesSettings
from intra_search.errors import SceneError, SettingError
from intra_search.scenes.apolloscape import road_images
from intra_search.scenes.culane import LISTS
from intra_search.scenes.images import data_root
from intra_search.scenes.index import Scan
from intra_search.scenes.lane_files import read_listed_images
from intra_search.scenes.llamas import image_folder


class Picture(NamedTuple):
    """One frame of a benchmark's test set."""

    name: str
    """The name that it would have in `SceneSet.names`."""
    path: Path


def unlabelled_frames(settings: ScenesSettings) -> list[Picture]:
    """Frames of the official test set, with or without labels, in the order of their names.

    ApolloScape: the roads without a folder of labels (road05); CULane: `list/test.txt`; LLAMAS: the images of `test`.
    Raises `SettingError` for another data set, `SceneError` when there are no frames or a listed one is missing."""
    if settings.dataset not in _LISTERS:
        rule, remedy = f"is for {', '.join(_LISTERS)}", "use --split val or test, or `predict` for other pictures"
        raise SettingError("--split submission", rule, settings.dataset, remedy)
    root = data_root(settings.root)
    found = [Picture(name, root / path) for name, path in sorted(_LISTERS[settings.dataset](Scan(root)))]
    if not found:
        raise SceneError(str(root), "must hold frames of the official test set", "none", _WHERE[settings.dataset])
    missing = next((picture.path for picture in found if not os.path.isfile(picture.path)), None)
    if missing is not None:
        raise SceneError(str(missing), "must exist, since the list names it", "no such file", "unpack its archive")
    return found


def _apolloscape(scan: Scan) -> list[tuple[str, str]]:
    roads = [name.removeprefix("ColorImage_") for name in scan.folders(".") if name.startswith("ColorImage_")]
    bare = [road for road in roads if not scan.exists(f"Labels_{road}/Label")]
    return [(image.name, image.path) for road in bare for image in road_images(scan, road)]


def _culane(scan: Scan) -> list[tuple[str, str]]:
    images = {listed.image for listed in read_listed_images(scan.table(LISTS["test"]))}
    return [(str(PurePosixPath(image).with_suffix("")), image) for image in images]


def _llamas(scan: Scan) -> list[tuple[str, str]]:
    images, suffix = image_folder(scan)
    folder = f"{images}/test"
    return [
        (f"{recording}/{name.removesuffix(suffix)}", f"{folder}/{recording}/{name}")
        for recording in scan.folders(folder)
        for name in scan.files(f"{folder}/{recording}", (suffix,))
    ]


_LISTERS: dict[str, Callable[[Scan], list[tuple[str, str]]]] = {
    "apolloscape": _apolloscape,
    "culane": _culane,
    "llamas": _llamas,
}
_WHERE = {
    "apolloscape": "unpack ColorImage_road05 there",
    "culane": "unpack list/test.txt and its drivers there",
    "llamas": "unpack color_images/test there",
}
