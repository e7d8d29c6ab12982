"""Fills the shards on a cluster: Ray tasks, as many at a time as it holds.

Tasks rather than actors: a cluster that grows or shrinks needs no care, and a process that Ray gives to the next task
still holds the teacher. A shard whose task fails is tried again as long as the caller's policy says so.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import ray

from intra_search.config.study import StudySettings
from intra_search.distill.needs import Need
from intra_search.knowledge.answering import ShardTask, ShardWriter, plan_extraction
from intra_search.knowledge.records import Making
from intra_search.networks.placement import resolved_amp
from intra_search.store.storage import Storage


def extract(
    storage: Storage,
    teacher: str,
    settings: StudySettings,
    needs: frozenset[Need],
    *,
    cpus: float,
    gpus: float,
    progress: Callable[[int, int, float], None],
    failed: Callable[[int, Exception], None],
    unlabelled: bool = False,
) -> str:
    """Stores what is missing and returns the store's URI. Shards that exist are kept: an extraction can go on.

    Args:
        storage: the study's; `teacher` is the path of a checkpoint in it.
        cpus: of one task, as `gpus`.
        progress: called as `progress(done, total, seconds)` after each shard, with what that one took.
        failed: called as `failed(shard, error)` when a shard's task has failed; returns if the shard is to be tried
            again, else raises.
        unlabelled: the answers are about the frames without labels.
    """

    def making() -> Making:
        amp = ray.remote(resolved_amp).options(num_cpus=cpus, num_gpus=gpus)
        return Making(max(1, int(cpus)), ray.get(amp.remote(settings.teacher.training.amp, use_gpu=gpus > 0)))

    plan = plan_extraction(storage, teacher, settings, needs, making, unlabelled=unlabelled)
    # The caller, not Ray, decides whether a lost task is tried again.
    task = ray.remote(_write_shard).options(num_cpus=cpus, num_gpus=gpus, max_retries=0)

    def begin(shard: ShardTask) -> tuple[Any, ShardTask]:
        return task.remote(storage.uri, teacher, settings, plan.making, gpus > 0, shard), shard

    pending = dict(begin(shard) for shard in plan.tasks)
    total = plan.store.source.num_shards
    while pending:
        (ready, *_), _ = ray.wait(list(pending))
        shard = pending.pop(ready)
        try:
            seconds = ray.get(ready)
        except Exception as error:
            failed(shard.shard, error)
            pending |= [begin(shard)]
        else:
            progress(total - len(pending), total, seconds)
    plan.store.finish(plan.keys)
    return plan.store.storage.uri


def _write_shard(
    uri: str, teacher: str, settings: StudySettings, making: Making, use_gpu: bool, task: ShardTask
) -> float:
    started = time.perf_counter()
    _writer(uri, teacher, settings, making, use_gpu).write(task)
    return time.perf_counter() - started


@functools.lru_cache(maxsize=1)
def _writer(uri: str, teacher: str, settings: StudySettings, making: Making, use_gpu: bool) -> ShardWriter:
    return ShardWriter(Storage(uri), teacher, settings, making, use_gpu=use_gpu)
