"""Step: the plain student (base settings without distillation), trained here if no trial of the search is plain."""

from typing import NamedTuple

from intra_search.config.parsing import with_overrides
from intra_search.config.space import Space
from intra_search.distill.loss import active_terms
from intra_search.store.artefacts import PlainRecord
from intra_search.store.events import PlainStudentEpoch
from intra_search.store.study_folder import PLAIN_FOLDER
from intra_search.study.context import StudyContext


class PlainStudent(NamedTuple):
    """The base settings trained without distillation."""

    score: float
    """The first objective on `val`, at its best epoch."""
    epochs: int


def ensure(context: StudyContext) -> PlainStudent | None:
    """The plain student, stored or trained now.

    None where a trial will be one, where the study trains one student only (a second one would double its cost), where
    weak teachers are allowed, or where the plain student has no score.
    """
    settings = context.settings
    if settings.teacher.allow_weak or settings.search.num_trials == 1 or _may_be_plain(context.plan.space):
        return None
    record = context.folder.plain_student.find() or context.folder.plain_student.write(_trained(context))
    lead = context.objectives.lead
    best = lead.best(value for row in record.history if (value := lead.value(row)) is not None)
    return None if best is None else PlainStudent(best, len(record.history))


def _trained(context: StudyContext) -> PlainRecord:
    from intra_search.training.job import TrainingJob
    from intra_search.training.worker import train_alone

    settings, cluster = context.settings, context.cluster
    context.note("training the base settings without distillation, since no trial of this space is without")
    without = with_overrides(settings, {"distill.enabled": False})
    history = train_alone(
        TrainingJob(context.folder.storage.uri, PLAIN_FOLDER, context.generation, "student", without, settings.seed),
        cpus=cluster.cpus_alone,
        gpus=cluster.gpus_alone,
        progress=lambda row: context.tell(PlainStudentEpoch(row, settings.training.epochs)),
        note=context.note,
    )
    return PlainRecord(history=history, device_seconds=sum(row["seconds"] for row in history))


def _may_be_plain(space: Space) -> bool:
    """Whether a trial may be without distillation: by its switch, or as one of the fixed points."""
    if any(not active_terms(space.settings(point).distill) for point in space.points):
        return True
    switch = space.domains.get("distill.enabled")
    return switch is not None and switch.contains(False)
