"""The layouts that scenes can be drawn in, and the drawing of a whole data set."""

import json
import os
import shutil
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from intra_search.errors import SettingError, StorageError
from intra_search.scenes.writers import apolloscape, culane, folder, llamas
from intra_search.scenes.writers.order import LEAST_SCENES, DrawOrder

RECORD = "drawn.json"
"""Marks a folder that was drawn, and says how. Only such folders may be replaced."""


class Format(NamedTuple):
    """One layout."""

    size: tuple[int, int]
    """Height and width by default."""
    fixed_size: bool
    write_scene: Callable[[Path, DrawOrder, int], None]
    write_tables: Callable[[Path, DrawOrder], None]
    """Called after all scenes."""


FORMATS = {
    "apolloscape": Format(apolloscape.SIZE, False, apolloscape.write_scene, apolloscape.write_tables),
    "culane": Format(culane.SIZE, False, culane.write_scene, culane.write_tables),
    "llamas": Format(llamas.SIZE, True, llamas.write_scene, llamas.write_tables),
    "folder": Format(folder.SIZE, False, folder.write_scene, folder.write_tables),
}


def draw_order(name: str, count: int, seed: int, height: int | None, width: int | None) -> DrawOrder:
    """What to draw in a format. Raises `SettingError` for an unknown format, too few scenes or a wrong size."""
    if name not in FORMATS:
        raise SettingError("--format", "unknown format", repr(name), f"known: {', '.join(FORMATS)}")
    if count < LEAST_SCENES:
        raise SettingError("--count", f"must be at least {LEAST_SCENES}: train, val and test", count, "draw more")
    default = FORMATS[name].size
    size = (default[0] if height is None else height, default[1] if width is None else width)
    if FORMATS[name].fixed_size and size != default:
        rule = f"{name} frames are {default[1]} x {default[0]}"
        raise SettingError("--height, --width", rule, f"{size[1]} x {size[0]}", "leave both out")
    if min(size) < 32:
        raise SettingError("--height, --width", "must be at least 32", f"{size[1]} x {size[0]}", "draw larger scenes")
    return DrawOrder(count, seed, *size)


def draw_data_set(
    out: Path, name: str, order: DrawOrder, *, overwrite: bool = False, progress: Callable[[int], None] | None = None
) -> None:
    """Draws a data set into a new folder, which appears when everything is drawn.

    With `overwrite`, a folder that was drawn earlier is replaced. Raises `StorageError` for any other folder that is
    not empty, and when nothing can be written. `progress(done)` is called after each scene."""
    out = out.absolute()
    try:
        _check_free(out, overwrite)
        out.parent.mkdir(parents=True, exist_ok=True)
        _draw(out, name, order, progress)
    except OSError as error:
        reason = f"{error.strerror or error} ({error.filename or out})"
        remedy = "choose a folder that can be made, on a disk with space"
        raise StorageError(str(out), "must be writable as a folder", reason, remedy) from None


def _draw(out: Path, name: str, order: DrawOrder, progress: Callable[[int], None] | None) -> None:
    part = out.parent / f".tmp-{out.name}-{uuid.uuid4().hex[:8]}"
    write_scene, write_tables = FORMATS[name].write_scene, FORMATS[name].write_tables
    try:
        part.mkdir()
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            try:
                drawn = threads.map(lambda index: write_scene(part, order, index), range(order.num_scenes))
                for done, _ in enumerate(drawn, 1):
                    if progress is not None:
                        progress(done)
            finally:
                threads.shutdown(cancel_futures=True)
        write_tables(part, order)
        (part / RECORD).write_text(json.dumps({"format": name, **order._asdict()}) + "\n", encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check_free(out: Path, overwrite: bool) -> None:
    if Path.cwd().is_relative_to(out.resolve()):
        # The folder is replaced by another one; a shell in the old one would see nothing.
        rule, remedy = "must not be the folder you are in", "name a folder in it, or one elsewhere"
        raise StorageError(str(out), rule, "the current folder or one above", remedy)
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / RECORD).is_file():
        rule = "must be a new or empty folder, or one that was drawn"
        raise StorageError(str(out), rule, "something else", "choose another place")
    if not overwrite:
        raise StorageError(str(out), "must be a new or empty folder", "drawn scenes", "add --overwrite to replace them")
