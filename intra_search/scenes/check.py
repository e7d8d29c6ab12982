"""Reads every scene once before a study stores anything, so that a bad one costs seconds and not a night."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from intra_search.scenes.scene_set import SceneSet


def check_scenes(scene_set: SceneSet, progress: Callable[[int, int], None] | None = None) -> None:
    """Decodes all scenes and raises the first `SceneError` in their order: missing, damaged, of another size than
    its mask, or with an unknown class. `progress(done, total)` is called after each."""
    # Threads, since decoders release the lock; map hands results and errors back in the order of the scenes.
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        try:
            for done, _ in enumerate(threads.map(lambda index: _check(scene_set, index), range(len(scene_set))), 1):
                if progress is not None:
                    progress(done, len(scene_set))
        finally:
            threads.shutdown(cancel_futures=True)


def _check(scene_set: SceneSet, index: int) -> None:
    # Returns nothing, so that no frame outlives its check in the queue of results.
    scene_set.load(index)
