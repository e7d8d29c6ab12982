"""What the pixels of a scene mean: the classes of a data set, ApolloScape's table of labels, and tables of 256 entries
that renumber labels (file ids, train ids, categories).

Imports neither torch nor OpenCV: `score`, `draw` and the report read this file, and imports are most of their start-up.
"""

import csv
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from intra_search.errors import SettingError

IGNORED = 255
"""Label of pixels that no loss and no metric counts."""
UNKNOWN = 254
"""In a table: this value is no class. Labels that are loaded never contain it."""
MAX_CLASSES = 254

Table = NDArray[np.uint8]
"""256 entries: `table[labels]` renumbers an image of labels."""


class SceneClass(NamedTuple):
    """One class of pixels; its index is its place in the data set's tuple of classes."""

    name: str
    category: str
    color: tuple[int, int, int]
    """RGB, for pictures."""


class ApolloScapeLabel(NamedTuple):
    """One row of ApolloScape's `laneMarkDetection.py`."""

    name: str
    id: int
    """The palette index in label PNGs: 0, 200..233, 249, 250, 255."""
    train_id: int
    """0..35 for the classes; 255 for noise and ignored pixels."""
    category: str
    counted: bool
    """Counts in the official mean IoU."""
    color: tuple[int, int, int]

    @property
    def scene_class(self) -> SceneClass:
        return SceneClass(self.name, self.category, self.color)


@cache
def apolloscape_labels() -> tuple[ApolloScapeLabel, ...]:
    """The 38 labels in the official order: 36 classes by train id, then noise and ignored.

    Source: ApolloScapeAuto/dataset-api, lane_segmentation/helpers/laneMarkDetection.py (its facts as a table).
    """
    text = files("intra_search.scenes").joinpath("apolloscape_labels.csv").read_text(encoding="utf-8")
    return tuple(
        ApolloScapeLabel(
            name=row["name"],
            id=int(row["id"]),
            train_id=int(row["train_id"]),
            category=row["category"],
            counted=row["counted_in_official_mean"] == "1",
            color=(int(row["red"]), int(row["green"]), int(row["blue"])),
        )
        for row in csv.DictReader(text.splitlines())
    )


@cache
def apolloscape_classes() -> tuple[SceneClass, ...]:
    """The 36 classes by train id: void, then 35 kinds of markings."""
    rows = [label for label in apolloscape_labels() if label.train_id != IGNORED]
    return tuple(label.scene_class for label in sorted(rows, key=lambda label: label.train_id))


@cache
def train_id_table() -> Table:
    """ApolloScape file id → train id; noise (249) and ignored (255) → 255, all other values → `UNKNOWN`."""
    table = np.full(256, UNKNOWN, np.uint8)
    for label in apolloscape_labels():
        table[label.id] = label.train_id
    return table


@cache
def file_id_table() -> Table:
    """ApolloScape train id → file id, for submissions; 255 → 255, all other values → `UNKNOWN`."""
    table = np.full(256, UNKNOWN, np.uint8)
    for label in apolloscape_labels():
        table[label.train_id] = label.id
    return table


def apolloscape_colors() -> dict[tuple[int, int, int], int]:
    """RGB colour → train id, for labels stored in colour.

    Until 2018-08-28, id 230 (a_n_lu) had the colour of id 219 (s_y_c), (128, 0, 0); now it is (0, 191, 255). In older
    downloads the two cannot be distinguished: (128, 0, 0) is read as s_y_c, which is far more frequent.
    """
    return {label.color: label.train_id for label in apolloscape_labels()}


@cache
def index_table(num_classes: int) -> Table:
    """For label files that hold the class itself: 0..`num_classes` - 1 and 255 stay, others → `UNKNOWN`."""
    table = np.full(256, UNKNOWN, np.uint8)
    table[:num_classes] = np.arange(num_classes)
    table[IGNORED] = IGNORED
    return table


_MIRRORED = (("a_w_l", "a_w_r"), ("a_w_tl", "a_w_tr"))
_WITHOUT_MIRROR = ("a_w_u", "a_n_lu", "a_w_tu", "a_w_m")


@cache
def apolloscape_swap() -> Mapping[int, int]:
    """Train id → train id after a flip, for the classes that a flip changes.

    Left and right arrows change places. The arrows with a U-turn (a_w_u, a_n_lu, a_w_tu) and the merge arrow (a_w_m)
    bend to one side, and there is no class for the other: flipped, they become 255, ignored. All others stay the same.
    """
    index = {row.name: number for number, row in enumerate(apolloscape_classes())}
    swap = {index[name]: IGNORED for name in _WITHOUT_MIRROR}
    for left, right in _MIRRORED:
        swap |= {index[left]: index[right], index[right]: index[left]}
    return swap


def color_labels(image: NDArray[np.uint8], colors: Mapping[tuple[int, int, int], int]) -> NDArray[np.uint8]:
    """Labels (H, W) of an image (H, W, 3) painted in class colours; a colour of no class gives `UNKNOWN`."""
    keys = np.array([(r << 16) | (g << 8) | b for r, g, b in colors], np.uint32)
    order = np.argsort(keys)
    values = np.array(list(colors.values()), np.uint8)[order]
    keys = keys[order]
    red, green, blue = (image[..., channel].astype(np.uint32) for channel in range(3))
    pixels = (red << 16) | (green << 8) | blue
    found = np.searchsorted(keys, pixels).clip(max=len(keys) - 1)
    return np.where(keys[found] == pixels, values[found], np.uint8(UNKNOWN))


class ClassMap(NamedTuple):
    """The trained classes, and how a data set's own classes become them."""

    classes: tuple[SceneClass, ...]
    table: Table
    """Data set's class → trained class; 255 → 255, or the last class when ignored pixels are trained."""
    swap: Mapping[int, int] | None
    """Trained class → trained class after a flip; None: this data set cannot be flipped."""


def class_map(
    classes: Sequence[SceneClass], swap: Mapping[int, int] | None, *, by_category: bool, ignored_class: bool
) -> ClassMap:
    """Trained classes of a data set: its classes or one per category, with or without a class for ignored pixels."""
    trained, index = _categories(classes) if by_category else (tuple(classes), list(range(len(classes))))
    table = np.full(256, IGNORED, np.uint8)
    table[: len(index)] = index
    if by_category and swap is not None:
        swap = _category_swap(classes, index, swap)
    if ignored_class:
        table[IGNORED] = len(trained)
        trained = (*trained, SceneClass("ignored", "ignored", (255, 255, 255)))
    return ClassMap(trained, table, swap)


def swap_table(swap: Mapping[int, int]) -> Table:
    """Label → label after a flip; labels that are not in `swap` stay."""
    table = np.arange(256, dtype=np.uint8)
    for label, mirrored in swap.items():
        table[label] = mirrored
    return table


def _categories(classes: Sequence[SceneClass]) -> tuple[tuple[SceneClass, ...], list[int]]:
    """Categories in order of their first class, so the category of class 0 (void, the background) is class 0."""
    first: dict[str, SceneClass] = {}
    for row in classes:
        if not row.category:
            raise SettingError(
                "scenes.classes",
                "'category' needs a category for every class",
                f"class {row.name!r} without one",
                "fill the category column, or --set scenes.classes='\"fine\"'",
            )
        first.setdefault(row.category, row)
    names = list(first)
    trained = tuple(SceneClass(name, name, row.color) for name, row in first.items())
    return trained, [names.index(row.category) for row in classes]


def _category_swap(
    classes: Sequence[SceneClass], index: Sequence[int], swap: Mapping[int, int]
) -> Mapping[int, int] | None:
    """Category after a flip: that of its flipped classes. None if these are in different categories: then scenes with
    categories cannot be flipped.

    A class that becomes ignored follows the others of its category: a flipped U-turn arrow is still a turn arrow.
    """
    target: dict[int, int] = {}
    for label in range(len(classes)):
        mirrored = swap.get(label, label)
        if mirrored == IGNORED:
            continue
        if target.setdefault(index[label], index[mirrored]) != index[mirrored]:
            return None
    lost = {index[label]: IGNORED for label in range(len(classes)) if index[label] not in target}
    return {label: mirrored for label, mirrored in (target | lost).items() if label != mirrored}
