"""Reads every scene once before a study stores anything, so that a bad one costs seconds and not a night."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from intra_search.scenes.scene_set import SceneSet


def check_scenes(
    scene_set: SceneSet,
    progress: Callable[[int, int], None] | None = None,
    *,
    also: Callable[[str], None] | None = None,
) -> None:
    """Decodes all scenes and raises the first `SceneError` in their order: missing, damaged, of another size than
    its mask, or with an unknown class; or what `also`, given the scene's name, finds in other files of it.
    `progress(done, total)` is called after each."""
    # Threads, since decoders release the lock; map hands results and errors back in the order of the scenes.
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        try:
            checked = threads.map(lambda index: _check(scene_set, index, also), range(len(scene_set)))
            for done, _ in enumerate(checked, 1):
                if progress is not None:
                    progress(done, len(scene_set))
        finally:
            threads.shutdown(cancel_futures=True)


def _check(scene_set: SceneSet, index: int, also: Callable[[str], None] | None) -> None:
    # Returns nothing, so that no frame outlives its check in the queue of results.
    scene_set.load(index)
    if also is not None:
        also(scene_set.names[index])
