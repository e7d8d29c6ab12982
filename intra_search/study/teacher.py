"""Step: the study's teacher, trained here or given; several where `teacher.checkpoint` is searched."""

from collections.abc import Iterable

from intra_search.config.fingerprints import teacher_key
from intra_search.config.parsing import with_overrides
from intra_search.config.study import StudySettings
from intra_search.config.study_file import StudyPlan
from intra_search.errors import CheckpointError
from intra_search.store.artefacts import Teacher, TeacherRecord
from intra_search.store.events import TeacherEpoch
from intra_search.store.ledger import TrialRecord, find_checkpoint
from intra_search.store.study_folder import StudyFolder
from intra_search.study import given_teacher
from intra_search.study.context import StudyContext

CHECKPOINT = "teacher.checkpoint"


def plans(plan: StudyPlan, records: Iterable[TrialRecord] = ()) -> dict[str | None, StudyPlan]:
    """The plan with the settings of each teacher, by its `teacher.checkpoint` (None: trained here).

    Trials that go on keep their teacher, even if the space does not hold it any more.
    """
    going_on = [record.point for record in records if record.state.is_live]
    names = [*plan.space.values_of(CHECKPOINT), *(point[CHECKPOINT] for point in going_on if CHECKPOINT in point)]
    return {
        name: plan._replace(settings=with_overrides(plan.settings, {CHECKPOINT: name})) for name in dict.fromkeys(names)
    }


def ensure(context: StudyContext) -> Teacher:
    """The teacher of the context's settings: stored, given, or trained now."""
    home = _home(context.settings, context.fingerprint)
    stored = context.folder.teacher(home).find()
    if stored is not None:
        _say_kept(context, home)
        return stored.teacher
    is_given = context.settings.teacher.checkpoint is not None
    record = given_teacher.adopt(context, home) if is_given else _trained(context, home)
    context.folder.teacher(home).write(record)
    if is_given:
        score = context.objectives.lead.text(record.teacher.score)
        context.note(f"teacher taken from {record.source}: {score} on this study's val")
    _say_kept(context, home)
    return record.teacher


def is_stored(folder: StudyFolder, settings: StudySettings, fingerprint: str) -> bool:
    """Whether the study holds its teacher."""
    return folder.teacher(_home(settings, fingerprint)).exists


def _home(settings: StudySettings, fingerprint: str) -> str:
    return f"teacher/{teacher_key(settings, fingerprint)}"


def _say_kept(context: StudyContext, home: str) -> None:
    """Where the checkpoints of `teacher.keep_epochs` are, and which were gone before they were asked for."""
    storage = context.folder.storage
    found = {epoch: find_checkpoint(storage, home, epoch) for epoch in context.settings.teacher.keep_epochs}
    kept = [storage.full_path(path) for path in found.values() if path is not None]
    gone = [str(epoch) for epoch, path in found.items() if path is None]
    if kept:
        context.note(f"kept of the teacher's training, each fit for teacher.checkpoint: {', '.join(kept)}")
    if gone:
        why = "the teacher was trained past it before it was to be kept"
        context.note(f"teacher.keep_epochs: no checkpoint of epoch {', '.join(gone)}, since {why}")


def _trained(context: StudyContext, home: str) -> TeacherRecord:
    from intra_search.training.job import teacher_job
    from intra_search.training.worker import train_alone

    folder, settings, cluster = context.folder, context.settings, context.cluster
    epochs = settings.teacher.training.epochs
    context.note(f"training the teacher {settings.teacher.network} for {epochs} epochs")
    history = train_alone(
        teacher_job(folder.storage.uri, home, context.generation, settings),
        cpus=cluster.cpus_alone,
        gpus=cluster.gpus_alone,
        progress=lambda row: context.tell(TeacherEpoch(row, epochs)),
        note=context.note,
    )
    best = context.objectives.best_epoch(history)
    checkpoint = find_checkpoint(folder.storage, home, best)
    if checkpoint is None:
        found, remedy = f"no checkpoint of epoch {best}", "delete the folder and run again"
        raise CheckpointError(folder.storage.full_path(home), "must hold the teacher's best epoch", found, remedy)
    teacher = Teacher(folder=home, checkpoint=checkpoint, score=context.objectives.lead.value(history[best - 1]))
    return TeacherRecord(teacher=teacher, history=history, device_seconds=sum(row["seconds"] for row in history))
