"""Counts over many files: one result per item, in several processes, then merged. Bad items raise or are listed."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial, reduce
from multiprocessing import get_context
from typing import NamedTuple, TypeVar

import cv2

from intra_search.errors import SceneError

Item = TypeVar("Item")
Total = TypeVar("Total")

_ITEMS_PER_PROCESS = 250  # for fewer, starting a process takes longer than it saves
_PARTS_PER_PROCESS = 8  # a process takes the next part when it is free, so one slow part delays little


class TallyOptions(NamedTuple):
    """How items are counted. The result does not depend on it, except for bad items."""

    skip_bad: bool = False
    """Bad items are left out and listed; else the first one raises."""
    processes: int | None = None
    """None: one per core, or fewer for few items."""


def tally(
    count: Callable[[Item], Total],
    merge: Callable[[Total, Total], Total],
    items: Sequence[Item],
    options: TallyOptions | None = None,
) -> tuple[Total, list[str]]:
    """Merged counts of all items, and one line for each item left out, both in the items' order.

    `count` must be picklable: a function of a module, or a partial of one. Raises the SceneError of the first bad item;
    with `skip_bad`, a SceneError when every item is bad.
    """
    options = options or TallyOptions()
    processes = options.processes or min(os.cpu_count() or 1, len(items) // _ITEMS_PER_PROCESS)
    count_part = partial(_count_part, count, merge, options.skip_bad)
    if processes <= 1:
        parts = [count_part(items)]
    else:
        size = -(-len(items) // (processes * _PARTS_PER_PROCESS))
        chunks = [items[start : start + size] for start in range(0, len(items), size)]
        # Spawned, not forked: a fork of a process with threads (such as OpenCV's) can hang.
        with ProcessPoolExecutor(processes, get_context("spawn"), initializer=_use_one_thread) as pool:
            parts = list(pool.map(count_part, chunks))
    totals = [total for total, _ in parts if total is not None]
    skipped = [line for _, lines in parts for line in lines]
    if not totals:
        first = skipped[0] if skipped else "no item"
        raise SceneError("score", "needs at least one usable file", first, "mend the files or the paths")
    return reduce(merge, totals), skipped


def _count_part(
    count: Callable[[Item], Total], merge: Callable[[Total, Total], Total], skip_bad: bool, items: Sequence[Item]
) -> tuple[Total | None, list[str]]:
    total: Total | None = None
    skipped: list[str] = []
    for item in items:
        try:
            counted = count(item)
        except SceneError as error:
            if not skip_bad:
                raise
            skipped.append(str(error))
            continue
        total = counted if total is None else merge(total, counted)
    return total, skipped


def _use_one_thread() -> None:
    cv2.setNumThreads(1)  # the processes already use every core
