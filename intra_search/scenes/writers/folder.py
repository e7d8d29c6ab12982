"""Drawn scenes as a plain folder: images/, masks/, classes.csv, groups.csv.

classes.csv has no swap column: for some arrows no class is their mirror image, and the column cannot express that.
"""

import csv
from collections.abc import Iterable
from pathlib import Path

from intra_search.scenes.labels import apolloscape_classes
from intra_search.scenes.writers.files import write_image, write_mask
from intra_search.scenes.writers.order import DrawOrder

SIZE = (160, 416)


def write_scene(out: Path, order: DrawOrder, index: int) -> None:
    """Image and mask of one scene."""
    # Imported here, because other layouts do not need it.
    from intra_search.scenes.synthetic import draw_scene

    image, labels = draw_scene(order.seed, index, order.height, order.width)
    write_image(out / "images" / f"{_stem(index)}.jpg", image)
    palette = {number: row.color for number, row in enumerate(apolloscape_classes())}
    write_mask(out / "masks" / f"{_stem(index)}.png", labels, palette)


def write_tables(out: Path, order: DrawOrder) -> None:
    """Classes with categories and colours; one group per recording."""
    classes = ((index, row.name, row.category, *row.color) for index, row in enumerate(apolloscape_classes()))
    _write_csv(out / "classes.csv", ("index", "name", "category", "red", "green", "blue"), classes)
    groups = ((_stem(index), f"drive{order.recording(index):03d}") for index in range(order.num_scenes))
    _write_csv(out / "groups.csv", ("name", "group"), groups)


def _stem(index: int) -> str:
    return f"{index:06d}"


def _write_csv(path: Path, head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)
