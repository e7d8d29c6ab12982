"""Asks the teacher about every view, once per study: Ray tasks fill the shards, as many at a time as the cluster holds.

Tasks rather than actors: a cluster that grows or shrinks needs no care, a lost machine's shard is tried again by Ray,
and a process that Ray gives to the next task still holds the teacher.
"""

import functools
import hashlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from intra_search.config.settings import StudySettings
from intra_search.distill.needs import Need, teacher_answers
from intra_search.knowledge.shards import Recipe, shard_name, write_manifest, write_shard
from intra_search.networks.checkpoint import NETWORK_FILE, load_network
from intra_search.networks.input import normalise
from intra_search.networks.placement import place
from intra_search.scenes.scene_set import SceneSet, open_scenes
from intra_search.store.bundle import read_bundle
from intra_search.store.storage import Storage

BATCH_SIZE = 8
"""Views per forward pass: fixed, so that a shard's bytes do not depend on who extracts it."""


def store_recipe(storage: Storage, teacher: str, settings: StudySettings, needs: frozenset[Need]) -> Recipe:
    """What the answers of this study's teacher about its training views depend on."""
    weights = read_bundle(storage, teacher).files[NETWORK_FILE]
    scenes = open_scenes(settings.scenes, "train")
    views = settings.scenes.model_dump(mode="json", exclude={"cache", "root"}) | {"seed": settings.seed}
    keys = tuple(sorted(need.key for need in needs))
    digest = hashlib.sha256(weights).hexdigest()
    return Recipe(digest, scenes.fingerprint, views, keys, len(scenes), int(settings.scenes.views))


def extract(
    storage: Storage,
    teacher: str,
    settings: StudySettings,
    needs: frozenset[Need],
    *,
    cpus: float,
    gpus: float,
    progress: Callable[[int, int], None],
) -> str:
    """Stores what is missing and returns the store's folder. Shards that exist are kept: they are the unit of resume.

    `progress(done, total)` is called after each shard.
    """
    recipe = store_recipe(storage, teacher, settings, needs)
    folder = f"knowledge/{recipe.hash}"
    if storage.exists(f"{folder}/manifest.json"):
        return folder
    missing = [shard for shard in range(recipe.num_shards) if not storage.exists(f"{folder}/{shard_name(shard)}")]
    task = ray.remote(_extract_shard).options(num_cpus=cpus, num_gpus=gpus)
    arguments = (storage.uri, teacher, settings, needs, gpus > 0, folder, recipe)
    pending = [task.remote(*arguments, shard) for shard in missing]
    seconds = 0.0
    while pending:
        (ready, *_), pending = ray.wait(pending)
        seconds += ray.get(ready)
        progress(recipe.num_shards - len(pending), recipe.num_shards)
    write_manifest(storage, folder, recipe, {"device_seconds": seconds})
    return folder


def _extract_shard(
    uri: str,
    teacher: str,
    settings: StudySettings,
    needs: frozenset[Need],
    use_gpu: bool,
    folder: str,
    recipe: Recipe,
    shard: int,
) -> float:
    return _extractor(uri, teacher, settings, needs, use_gpu).extract(folder, shard, recipe)


@functools.lru_cache(maxsize=1)
def _extractor(uri: str, teacher: str, settings: StudySettings, needs: frozenset[Need], use_gpu: bool) -> "_Extractor":
    return _Extractor(Storage(uri), teacher, settings, needs, use_gpu)


class _Extractor:
    def __init__(
        self, storage: Storage, teacher: str, settings: StudySettings, needs: frozenset[Need], use_gpu: bool
    ) -> None:
        self._storage = storage
        self._settings = settings
        self._needs = needs
        self._place = place(settings.teacher.training.amp, use_gpu=use_gpu)
        network, _ = load_network(storage, teacher)
        self._network = self._place.network(network)
        self._scenes: SceneSet = open_scenes(settings.scenes, "train")

    def extract(self, folder: str, shard: int, recipe: Recipe) -> float:
        """Writes one shard and returns the seconds it took."""
        started = time.perf_counter()
        views = [(scene, view) for scene in recipe.scenes_of(shard) for view in range(recipe.num_views)]
        batches = [self._answers(views[at : at + BATCH_SIZE]) for at in range(0, len(views), BATCH_SIZE)]
        joined = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
        write_shard(self._storage, folder, shard, joined)
        return time.perf_counter() - started

    @torch.inference_mode()
    def _answers(self, views: list[tuple[int, int]]) -> dict[str, NDArray[Any]]:
        drawn = [self._scenes.view(scene, view, self._settings.seed) for scene, view in views]
        images = torch.stack([image for image, _ in drawn])
        labels = self._place.labels(torch.stack([labels for _, labels in drawn]))
        with self._place.autocast():
            output = self._network(normalise(self._place.images(images)))
        answers = teacher_answers(self._needs, output, labels, len(self._scenes.classes))
        return {key: answer.cpu().numpy() for key, answer in answers.items()}
