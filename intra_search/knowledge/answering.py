"""Asks the teacher about every view of a shard and stores the answers. Repeated, it writes the same bytes."""

import functools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor

from intra_search.config.study import StudySettings
from intra_search.distill.needs import Need, StoredForm, belongs_to, teacher_answers
from intra_search.distill.unlabelled import teacher_regions
from intra_search.knowledge.records import Making
from intra_search.knowledge.shards import write_shard
from intra_search.knowledge.source import Source, source_of
from intra_search.knowledge.store import KnowledgeStore, part_of, shard_about, shard_name
from intra_search.networks.checkpoint import load_network
from intra_search.networks.input import normalise
from intra_search.networks.placement import place
from intra_search.scenes.scene_set import SceneSet, open_scenes
from intra_search.scenes.unlabelled_set import UnlabelledScenes, open_unlabelled
from intra_search.scenes.views import View
from intra_search.store.storage import Storage

BATCH_SIZE = 8
"""Views per forward pass: fixed, so that a shard's bytes do not depend on the machine that extracts it."""
BATCHES_AHEAD = 3
"""Batches of views that are prepared while the teacher answers one."""


class ShardTask(NamedTuple):
    """The missing answers of one shard."""

    store: str
    """URI of the store's own folder."""
    source: Source
    shard: int
    needs: frozenset[Need]
    unlabelled: bool = False
    """Whether it is about frames without labels."""


class Extraction(NamedTuple):
    """What an extraction has still to do for one study."""

    store: KnowledgeStore
    keys: tuple[str, ...]
    making: Making
    tasks: tuple[ShardTask, ...]


def plan_extraction(
    storage: Storage,
    teacher: str,
    settings: StudySettings,
    needs: frozenset[Need],
    making: Callable[[], Making],
    *,
    unlabelled: bool = False,
) -> Extraction:
    """Opens or creates the store for this study's source and lists what is missing in it.

    Args:
        storage: the study's storage; `teacher` is the path of a checkpoint in it.
        making: called for a new store only; an existing one has recorded how it is made.
        unlabelled: the answers are about the frames without labels; these have a store of their own.

    Raises `KnowledgeError` for a folder that holds something else, or a truncated file.
    """
    source = source_of(storage, teacher, settings, _scenes(settings, unlabelled))
    shared = settings.knowledge.store
    home = Storage(shared).full_path(source.folder) if shared else storage.full_path(f"knowledge/{source.folder}")
    store = KnowledgeStore(Storage(home), source)
    made = store.begin(making)
    missing = store.missing(need.key for need in needs)
    for keys in sorted(set(missing.values())):
        store.announce(keys)
    wanted = {shard: frozenset(need for need in needs if need.key in keys) for shard, keys in missing.items()}
    tasks = tuple(ShardTask(store.storage.uri, source, shard, part, unlabelled) for shard, part in wanted.items())
    return Extraction(store, tuple(sorted(need.key for need in needs)), made, tasks)


class ShardWriter:
    """A loaded teacher, which writes one shard after the other."""

    def __init__(
        self, storage: Storage, teacher: str, settings: StudySettings, making: Making, *, use_gpu: bool
    ) -> None:
        self._settings = settings
        self._threads = making.threads
        self._place = place(making.amp, use_gpu=use_gpu)
        # A GPU would wait for its images; on a CPU, more threads would only slow the teacher down.
        self._drawers = making.threads if use_gpu else 1
        network, _ = load_network(storage, teacher)
        self._network = self._place.network(network)
        self._num_classes = len(open_scenes(settings.scenes, "train").classes)
        self._opened = functools.cache(functools.partial(_scenes, settings))

    def write(self, task: ShardTask) -> None:
        """Writes one shard, unless it exists by now. Sets the number of torch's threads for this process."""
        storage = Storage(task.store)
        name = shard_name(task.shard, part_of(need.key for need in task.needs))
        if storage.exists(name):
            return
        torch.set_num_threads(self._threads)
        batches = (self._answers(views, task) for views in self._drawn(task))
        forms = functools.partial(stored_forms, task.needs)
        with storage.writing(name) as file:
            write_shard(file, batches, forms, shard_about(task.source.hashes, name))

    def _drawn(self, task: ShardTask) -> Iterator[list[View]]:
        """Batches of views in row order; threads prepare the next ones meanwhile."""
        scenes, seed = self._opened(task.unlabelled), self._settings.seed
        views = range(task.source.num_views)
        rows = [(scene, view, seed) for scene in task.source.scenes_of(task.shard) for view in views]
        with ThreadPoolExecutor(self._drawers) as pool:
            ahead: list[list[Future[View]]] = []
            for at in range(0, len(rows), BATCH_SIZE):
                ahead.append([pool.submit(scenes.view, *row) for row in rows[at : at + BATCH_SIZE]])
                if len(ahead) > BATCHES_AHEAD:
                    yield [future.result() for future in ahead.pop(0)]
            for batch in ahead:
                yield [future.result() for future in batch]

    @torch.inference_mode()
    def _answers(self, views: list[View], task: ShardTask) -> dict[str, Tensor]:
        images = torch.stack([view.image for view in views])
        labels = self._place.labels(torch.stack([view.labels for view in views]))
        with self._place.autocast():
            output = self._network(normalise(self._place.images(images)))
        if task.unlabelled:
            labels = teacher_regions(output.logits, labels)
        answers = teacher_answers(task.needs, output, labels, self._num_classes)
        return {key: answer.cpu() for key, answer in answers.items()}


def _scenes(settings: StudySettings, unlabelled: bool) -> SceneSet | UnlabelledScenes:
    found = open_unlabelled(settings.scenes) if unlabelled else open_scenes(settings.scenes, "train")
    assert found is not None
    return found


def stored_forms(needs: frozenset[Need], names: Iterable[str]) -> dict[str, StoredForm]:
    """How each of the named answers is stored, as its need says."""
    return {name: next(need.stored_form for need in needs if belongs_to(name, need.key)) for name in names}
