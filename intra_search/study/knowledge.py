"""Step: the teacher's answers about all views, stored once for all trials."""

from typing import NamedTuple

from intra_search.distill.needs import Need
from intra_search.scenes.scene_set import open_scenes
from intra_search.scenes.unlabelled_set import open_unlabelled
from intra_search.store.artefacts import KnowledgeSpending, Teacher
from intra_search.store.events import ShardStored
from intra_search.store.storage import Storage
from intra_search.study.context import StudyContext
from intra_search.study.teacher import plans
from intra_search.training.failures import Failure, RestartPolicy, classify, restart_or_raise


class Stored(NamedTuple):
    """URIs of stored knowledge; None where nothing is asked."""

    labelled: str | None = None
    """About the training scenes."""
    unlabelled: str | None = None
    """About the frames without labels."""


def ensure(context: StudyContext, teacher: Teacher) -> Stored | None:
    """The stored knowledge, extracted now as far as it is missing; None, and the teacher runs live, when the answers
    would take more room than they may."""
    from intra_search.knowledge.estimate import excess

    settings, storage = context.settings, context.folder.storage
    scenes, frames = open_scenes(settings.scenes, "train"), open_unlabelled(settings.scenes)
    home = Storage(settings.knowledge.store) if settings.knowledge.store else storage
    teachers = len(plans(context.plan))
    counts = {"num_scenes": teachers * len(scenes), "num_unlabelled": teachers * len(frames or ())}
    too_large = excess(settings, context.needs, num_classes=len(scenes.classes), **counts, is_local=home.is_local)
    if too_large is not None:
        context.note(f"the teacher runs live in every step: {too_large}")
        return None
    return Stored(
        _extracted(context, teacher, context.needs) if context.needs else None,
        _extracted(context, teacher, context.unlabelled_needs, unlabelled=True) if context.unlabelled_needs else None,
    )


def _extracted(context: StudyContext, teacher: Teacher, needs: frozenset[Need], *, unlabelled: bool = False) -> str:
    from intra_search.knowledge.extraction import extract

    policy, failures = RestartPolicy(context.settings.resources.max_restarts), dict[int, list[Failure]]()
    spending = context.folder.knowledge_spending
    spent = spending.read().device_seconds if spending.exists else 0.0

    def progress(stored: int, total: int, seconds: float) -> None:
        nonlocal spent
        spent += seconds
        spending.write(KnowledgeSpending(device_seconds=spent))
        context.tell(ShardStored(stored, total))

    def failed(shard: int, error: Exception) -> None:
        of_shard = failures.setdefault(shard, [])
        of_shard.append(classify(error))
        why = restart_or_raise(policy, of_shard, error)
        about = " about frames without labels" if unlabelled else ""
        context.note(f"knowledge: shard {shard}{about} is tried again ({why})")

    return extract(
        context.folder.storage,
        teacher.checkpoint,
        context.settings,
        needs,
        unlabelled=unlabelled,
        cpus=context.cluster.cpus_alone,
        gpus=context.cluster.gpus_alone,
        progress=progress,
        failed=failed,
    )
