"""Numberings of classes: hand values from the official table, and laws of the maps."""

import subprocess
import sys

import numpy as np
import pytest

from intra_search.errors import SettingError
from intra_search.scenes.labels import (
    IGNORED,
    UNKNOWN,
    SceneClass,
    apolloscape_classes,
    apolloscape_colors,
    apolloscape_labels,
    apolloscape_swap,
    class_map,
    color_labels,
    file_id_table,
    swap_table,
    train_id_table,
)

INDEX = {row.name: number for number, row in enumerate(apolloscape_classes())}


def test_table_has_the_official_counts() -> None:
    labels = apolloscape_labels()
    assert len(labels) == 38
    assert [label.train_id for label in labels if label.train_id != IGNORED] == list(range(36))
    # Void and 17 markings enter the official mean.
    assert sum(label.counted for label in labels) == 18
    assert len({label.color for label in labels}) == len({label.id for label in labels}) == 38


@pytest.mark.parametrize(
    ("file_id", "train_id"),
    [(0, 0), (200, 1), (204, 2), (209, 4), (214, 18), (230, 27), (250, 35), (249, 255), (255, 255)],
)
def test_file_ids_become_train_ids(file_id: int, train_id: int) -> None:
    assert train_id_table()[file_id] == train_id


def test_id_tables_lead_back_and_mark_the_unknown() -> None:
    train_ids = np.arange(36)
    assert (train_id_table()[file_id_table()[train_ids]] == train_ids).all()
    assert file_id_table()[IGNORED] == 255
    assert (train_id_table() == UNKNOWN).sum() == 256 - 38
    assert (file_id_table() == UNKNOWN).sum() == 256 - 37


def test_colors_become_labels_and_the_old_colour_of_230_reads_as_219() -> None:
    image = np.array([[[0, 0, 0], [70, 130, 180], [128, 0, 0], [0, 191, 255], [255, 255, 255], [1, 2, 3]]], np.uint8)
    labels = color_labels(image, apolloscape_colors())
    assert labels.tolist() == [[0, 1, INDEX["s_y_c"], INDEX["a_n_lu"], 255, UNKNOWN]]


def test_every_colour_reads_as_its_own_label() -> None:
    colors = apolloscape_colors()
    image = np.array([list(colors)], np.uint8)
    assert color_labels(image, colors)[0].tolist() == list(colors.values())


def test_flip_swaps_arrows_and_blanks_those_without_mirror() -> None:
    swap = apolloscape_swap()
    named = {
        apolloscape_classes()[label].name: None if mirror == IGNORED else apolloscape_classes()[mirror].name
        for label, mirror in swap.items()
    }
    assert named == {
        "a_w_l": "a_w_r",
        "a_w_r": "a_w_l",
        "a_w_tl": "a_w_tr",
        "a_w_tr": "a_w_tl",
        "a_w_u": None,
        "a_n_lu": None,
        "a_w_tu": None,
        "a_w_m": None,
    }


def test_swap_twice_changes_nothing_but_the_blanked() -> None:
    table = swap_table(apolloscape_swap())
    twice = table[table]
    kept = table != IGNORED
    assert (twice[kept] == np.arange(256)[kept]).all()


def test_categories_start_with_void_and_take_all_classes() -> None:
    result = class_map(apolloscape_classes(), apolloscape_swap(), by_category=True, ignored_class=False)
    names = [row.name for row in result.classes]
    assert names[0] == "void"
    assert names == [
        "void", "dividing", "guiding", "stopping", "chevron", "parking", "zebra", "thru/turn", "reduction", "attention",
        "no parking", "others",
    ]  # fmt: skip
    for label, row in enumerate(apolloscape_classes()):
        assert names[result.table[label]] == row.category
    assert result.table[IGNORED] == IGNORED
    # A mirrored arrow is an arrow still, with or without a class of its own.
    assert result.swap == {}


def test_ignored_class_comes_last() -> None:
    fine = class_map(apolloscape_classes(), None, by_category=False, ignored_class=True)
    assert len(fine.classes) == 37
    assert fine.table[IGNORED] == 36
    assert fine.classes[36].name == "ignored"
    category = class_map(apolloscape_classes(), None, by_category=True, ignored_class=True)
    assert category.table[IGNORED] == 12


def _classes(*categories: str) -> list[SceneClass]:
    return [SceneClass(f"c{number}", name, (0, 0, 0)) for number, name in enumerate(categories)]


def test_categories_swap_when_their_classes_go_together() -> None:
    classes = _classes("road", "left", "left", "right", "right")
    together = class_map(classes, {1: 3, 3: 1, 2: 4, 4: 2}, by_category=True, ignored_class=False)
    assert together.swap == {1: 2, 2: 1}
    parted = class_map(classes, {1: 3, 3: 1}, by_category=True, ignored_class=False)
    assert parted.swap is None


def test_category_of_classes_without_mirror_is_blanked() -> None:
    result = class_map(_classes("road", "turn"), {1: IGNORED}, by_category=True, ignored_class=False)
    assert result.swap == {1: IGNORED}


def test_category_needs_categories() -> None:
    with pytest.raises(SettingError, match=r"scenes\.classes.*'c1' without one"):
        class_map(_classes("road", ""), None, by_category=True, ignored_class=False)


def test_tables_and_file_lists_import_no_torch_and_no_opencv() -> None:
    modules = "intra_search.scenes.splits, intra_search.scenes.sources"
    code = f"import sys, {modules}; print({{'torch', 'cv2'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
