"""Step: the teacher's answers about all views, stored once for all trials."""

from intra_search.scenes.scene_set import open_scenes
from intra_search.store.artefacts import KnowledgeSpending, Teacher
from intra_search.store.events import ShardStored
from intra_search.store.storage import Storage
from intra_search.study.context import StudyContext
from intra_search.study.teacher import plans
from intra_search.training.failures import Failure, RestartPolicy, classify, restart_or_raise


def ensure(context: StudyContext, teacher: Teacher) -> str | None:
    """URI of the stored knowledge, extracted now as far as it is missing; None, and the teacher runs live, when the
    answers would take more room than they may."""
    from intra_search.knowledge.estimate import excess

    settings, storage = context.settings, context.folder.storage
    scenes = open_scenes(settings.scenes, "train")
    home = Storage(settings.knowledge.store) if settings.knowledge.store else storage
    sizes = {
        "num_classes": len(scenes.classes),
        "num_scenes": len(scenes) * len(plans(context.plan)),
    }  # each teacher's answers
    too_large = excess(settings, context.needs, **sizes, is_local=home.is_local)
    if too_large is not None:
        context.note(f"the teacher runs live in every step: {too_large}")
        return None
    return _extracted(context, teacher)


def _extracted(context: StudyContext, teacher: Teacher) -> str:
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
        context.note(f"knowledge: shard {shard} is tried again ({why})")

    return extract(
        context.folder.storage,
        teacher.checkpoint,
        context.settings,
        context.needs,
        cpus=context.cluster.cpus_alone,
        gpus=context.cluster.gpus_alone,
        progress=progress,
        failed=failed,
    )
