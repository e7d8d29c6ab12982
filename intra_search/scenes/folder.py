"""A plain folder of images and masks, for users' own data:

    images/NAME.jpg (or .png)    masks/NAME.png (8-bit, palette or grey: the index is the class)
    classes.csv    index,name[,category][,red,green,blue][,swap]
    groups.csv     name,group (optional: which frames belong to one video; without it, each frame is a group)

`swap` names the class that this one becomes when flipped (left_solid: right_solid); empty: the same. 255 is ignored.
"""

import csv
import os
from collections.abc import Mapping
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from intra_search.config.scenes import ScenesSettings
from intra_search.errors import SceneError
from intra_search.scenes.files import check_regular
from intra_search.scenes.images import (
    IMAGE_SUFFIXES,
    check_same_size,
    data_root,
    read_image,
    read_mask,
)
from intra_search.scenes.index import ListedFrame, Listing, Scan, frames_signature, indexed, listing
from intra_search.scenes.labels import IGNORED, MAX_CLASSES, UNKNOWN, SceneClass, Table
from intra_search.scenes.rows import Rows
from intra_search.scenes.source import Frame, SceneName, Split, no_protocol

Row = tuple[str, dict[str, str]]
"""Place (`file:line`) and cells of a line of a csv file."""


_DIGITS = 9
"""Of a number in a table; Python takes long for thousands of them."""


class _ClassTable(NamedTuple):
    classes: tuple[SceneClass, ...]
    table: Table
    colors: dict[tuple[int, int, int], int]
    swap: dict[int, int] | None


class FolderScenes:
    """All images of a folder, in the order of their names."""

    def __init__(self, settings: ScenesSettings) -> None:
        """Lists the files and reads the tables. Raises `SettingError` for a missing root, `SceneError` for a missing
        mask, no images, two images with one name, and for tables that cannot be used."""
        self._root = root = data_root(settings.root)
        self.classes, self._table, self._colors, swap = _read_classes(root / "classes.csv")
        self.swap: Mapping[int, int] | None = swap
        self.splits: Mapping[Split, tuple[int, ...]] | None = None
        self.lanes: tuple[int, ...] = ()
        self._frames = indexed("folder", root, _list_frames).frames
        groups = _read_groups(root / "groups.csv")
        names = self._frames.column(0)
        self.scenes = Rows(SceneName, names, [_group(groups, name, root) for name in names])

    def load(self, index: int) -> Frame:
        frame = self._frames[index]
        image_path, mask_path = self._root / frame.image, self._root / frame.label
        image = read_image(image_path)
        labels = read_mask(mask_path, self._table, self._colors)
        check_same_size(image_path, image, mask_path, labels)
        return image, labels

    def image_file(self, index: int) -> Path | None:
        return self._root / self._frames[index].image

    @staticmethod
    def existence(index: int) -> tuple[bool, ...] | None:
        """None: a plain folder does not say which classes are lanes."""
        return None

    def paper_crop_top(self, height: int, width: int) -> int:
        raise no_protocol("a plain folder")

    def signature(self) -> str:
        read_as = [self._table.tolist(), sorted((self._colors or {}).items())]
        return f"{frames_signature(self._root, self._frames)} {read_as}"


def _list_frames(scan: Scan) -> Listing:
    for name in ("images", "masks"):
        if not scan.exists(name):
            remedy = "put images/, masks/ and classes.csv there"
            raise SceneError(str(scan.root / name), "a folder data set must have it", "no such folder", remedy)
    masks = {PurePosixPath(name).stem: name for name in scan.files("masks", (".png",))}
    frames: dict[str, ListedFrame] = {}
    for image in scan.files("images", IMAGE_SUFFIXES):
        path, stem = scan.root / "images" / image, PurePosixPath(image).stem
        if stem in frames:
            found = f"{PurePosixPath(frames[stem].image).name} as well"
            raise SceneError(str(path), "names must differ before the suffix", found, "rename or remove one")
        if stem not in masks:
            remedy = f"add {scan.root / 'masks' / stem}.png, or remove the image"
            raise SceneError(str(path), "every image must have its mask", "no mask", remedy)
        frames[stem] = ListedFrame(stem, stem, f"images/{image}", f"masks/{masks[stem]}")
    if not frames:
        found = "none"
        raise SceneError(str(scan.root / "images"), "must hold .jpg or .png images", found, "put the images there")
    return listing(frames.values())


def _read_classes(path: Path) -> _ClassTable:
    rows = _read_csv(path, ("index", "name"), most=MAX_CLASSES + 1)
    if not rows or len(rows) > MAX_CLASSES:
        found = "more" if rows else 0
        raise SceneError(str(path), f"must list 1 to {MAX_CLASSES} classes", found, "one line per class")
    by_index: dict[int, Row] = {}
    names: set[str] = set()
    for place, cells in rows:
        if cells["name"] in names:
            raise SceneError(place, "names of classes must differ", repr(cells["name"]), "rename one")
        names.add(cells["name"])
        index = _number(place, "index", cells["index"], highest=MAX_CLASSES - 1)
        if index in by_index:
            raise SceneError(place, "every index must stand once", index, f"see also {by_index[index][0]}")
        by_index[index] = (place, cells)
    ordered = [by_index[index] for index in sorted(by_index)]
    table = np.full(256, UNKNOWN, np.uint8)
    table[sorted(by_index)] = np.arange(len(by_index))
    table[IGNORED] = IGNORED
    colors = [_color(place, cells) for place, cells in ordered]
    classes = tuple(
        SceneClass(cells["name"], cells.get("category", ""), color or _spread_color(number))
        for number, ((_, cells), color) in enumerate(zip(ordered, colors, strict=True))
    )
    known = {color: number for number, color in enumerate(colors) if color is not None}
    if len(known) not in (0, len(classes)):
        rule = "all classes or none must have a colour, and all colours must differ"
        raise SceneError(str(path), rule, f"{len(known)} colours for {len(classes)} classes", "complete red,green,blue")
    return _ClassTable(classes, table, known, _swap(ordered))


def _swap(rows: list[Row]) -> dict[int, int] | None:
    if "swap" not in rows[0][1]:
        return None
    index = {cells["name"]: number for number, (_, cells) in enumerate(rows)}
    swap: dict[int, int] = {}
    for number, (place, cells) in enumerate(rows):
        mirror = cells["swap"] or cells["name"]
        partner = index.get(mirror)
        if partner is None:
            remedy = f"known classes: {', '.join(index)}"
            raise SceneError(place, "swap must name a class, or be empty", repr(mirror), remedy)
        back = rows[partner][1]["swap"] or mirror
        if back != cells["name"]:
            found = f"{cells['name']} → {mirror} → {back}"
            raise SceneError(place, "swap must lead back: a flip done twice changes nothing", found, "pair the classes")
        if partner != number:
            swap[number] = partner
    return swap


def _read_groups(path: Path) -> dict[str, str] | None:
    if not os.path.lexists(path):
        return None
    groups: dict[str, str] = {}
    for place, cells in _read_csv(path, ("name", "group")):
        if groups.setdefault(cells["name"], cells["group"]) != cells["group"]:
            found = f"{cells['name']} in {groups[cells['name']]} and {cells['group']}"
            raise SceneError(place, "an image must be in one group", found, "keep one of the lines")
    return groups


def _group(groups: dict[str, str] | None, name: str, root: Path) -> str:
    if groups is None:
        return name
    if name not in groups:
        # It may not be a group of its own, because frames of another split may be nearly the same.
        remedy = f"add the line '{name},GROUP', or remove the image"
        raise SceneError(str(root / "groups.csv"), "every image must have a group", f"none for {name}", remedy)
    return groups[name]


def _read_csv(path: Path, columns: tuple[str, ...], most: int | None = None) -> list[Row]:
    """The rows of a table, or only so many."""
    try:
        check_regular(path)
        # utf-8-sig: spreadsheets put a byte order mark before the first column's name.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            present = reader.fieldnames or ()
            rows = [(f"{path}:{reader.line_num}", row) for row in islice(reader, most)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        remedy = f"write it with the columns {','.join(columns)}"
        raise SceneError(str(path), "must be a readable csv file", error, remedy) from None
    missing = [column for column in columns if column not in present]
    if missing:
        found = f"no column {missing[0]!r}"
        raise SceneError(str(path), f"must have the columns {','.join(columns)}", found, "add it to the first line")
    for place, row in rows:
        if None in row or None in row.values():
            found = f"{sum(value is not None for value in row.values())} cells"
            raise SceneError(place, "must have one cell per column", found, "complete the line")
    return [(place, {name: cell.strip() for name, cell in row.items()}) for place, row in rows]


def _color(place: str, cells: dict[str, str]) -> tuple[int, int, int] | None:
    parts = [cells.get(name, "") for name in ("red", "green", "blue")]
    if not any(parts):
        return None
    red, green, blue = (_number(place, "a colour", part, highest=255) for part in parts)
    return red, green, blue


def _number(place: str, what: str, text: str, *, highest: int) -> int:
    if not text.isdecimal() or len(text) > _DIGITS or int(text) > highest:
        raise SceneError(place, f"{what} must be a whole number in 0..{highest}", repr(text), "correct the line")
    return int(text)


def _spread_color(number: int) -> tuple[int, int, int]:
    """Different colours for classes without a colour: black for 0, else the number's bits spread over the channels."""
    channels = [0, 0, 0]
    for bit in range(8):
        channels[bit % 3] |= ((number >> bit) & 1) << (7 - bit // 3)
    return channels[0], channels[1], channels[2]
