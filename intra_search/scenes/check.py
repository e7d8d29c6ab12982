"""Reads every scene once before a study begins, so that a bad scene is found in seconds and not after a night."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from intra_search.errors import SceneError
from intra_search.scenes.labels import IGNORED
from intra_search.scenes.scene_set import SceneSet
from intra_search.scenes.source import Split


def check_scenes(
    scene_set: SceneSet,
    progress: Callable[[int, int], None] | None = None,
    *,
    also: Callable[[str], None] | None = None,
) -> None:
    """Decodes all scenes and raises the first `SceneError` in their order: for a missing or damaged file, another size
    than the mask's, or an unknown class. `also` is called with each scene's name and may check other files of it.
    `progress(done, total)` is called after each scene."""
    # Threads, since decoders release Python's lock; map returns results and errors in the order of the scenes.
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        try:
            checked = threads.map(lambda index: _check(scene_set, index, also), range(len(scene_set)))
            for done, _ in enumerate(checked, 1):
                if progress is not None:
                    progress(done, len(scene_set))
        finally:
            threads.shutdown(cancel_futures=True)


def check_labelled(scene_set: SceneSet, split: Split) -> None:
    """Raises `SceneError` for a split in which no pixel counts, as metrics see it: after the cut and the resizing. It
    looks no farther than the first scene with such a pixel."""
    if not any((scene_set.evaluation(index).labels != IGNORED).any() for index in range(len(scene_set))):
        rule = f"{split} must hold a pixel of a class, else no metric has a value"
        found = f"{len(scene_set)} scenes in which every pixel is ignored ({scene_set.names[0]} …)"
        remedy = f"label them, put others into {split}, or lower scenes.crop_top"
        raise SceneError("scenes", rule, found, remedy)


def _check(scene_set: SceneSet, index: int, also: Callable[[str], None] | None) -> None:
    # Returns nothing, so that no decoded frame stays in the queue of results.
    scene_set.load(index)
    if also is not None:
        also(scene_set.names[index])
