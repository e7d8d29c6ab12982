"""Step: the pick's plain twin, trained once the trials are over: the same settings and seed without distillation."""

from intra_search.config.parsing import with_overrides
from intra_search.config.study import StudySettings
from intra_search.config.study_file import StudyPlan
from intra_search.distill.loss import active_terms
from intra_search.errors import SettingError, StudyError
from intra_search.selection.pick import pick
from intra_search.store.artefacts import TwinRecord
from intra_search.store.events import TwinEpoch
from intra_search.store.ledger import TrialRecord
from intra_search.store.study_folder import StudyFolder, twin_folder
from intra_search.study.context import StudyContext


def is_missing(folder: StudyFolder, plan: StudyPlan) -> bool:
    """Whether the study's pick should have a plain twin and has none yet."""
    record = _to_compare(folder, plan)
    return record is not None and not folder.twin(record.trial).exists


def ensure(context: StudyContext) -> TwinRecord | None:
    """The plain twin of the study's pick, stored or trained now; None where there is nothing to compare."""
    record = _to_compare(context.folder, context.plan)
    if record is None:
        return None
    stored = context.folder.twin(record.trial)
    return stored.find() or stored.write(_trained(context, record))


def _to_compare(folder: StudyFolder, plan: StudyPlan) -> TrialRecord | None:
    """The pick, if it was distilled and the study is one that trains twins."""
    if not plan.settings.search.twin or plan.settings.search.num_trials == 1:
        return None
    try:
        record = pick(folder).record
        return record if active_terms(_settings(plan, record).distill) else None
    except StudyError:  # no finished trial
        return None
    except SettingError:  # its point makes no settings any more
        return None


def _settings(plan: StudyPlan, record: TrialRecord) -> StudySettings:
    return plan.space.settings(record.point)


def _trained(context: StudyContext, record: TrialRecord) -> TwinRecord:
    from intra_search.training.job import student_job
    from intra_search.training.worker import train_alone

    cluster, trial = context.cluster, record.trial
    context.note(f"training the plain twin of trial {trial}: its settings and seed without distillation")
    plain = with_overrides(_settings(context.plan, record), {"distill.enabled": False})
    home, uri = twin_folder(trial), context.folder.storage.uri
    history = train_alone(
        student_job(uri, trial, home, context.generation, plain, knowledge=None, teacher=""),
        cpus=plain.resources.cpus_per_worker,  # as many threads as the trial had
        gpus=cluster.gpus_alone,
        progress=lambda row: context.tell(TwinEpoch(trial, row, plain.training.epochs)),
        note=context.note,
    )
    return TwinRecord(trial=trial, history=history, device_seconds=sum(row["seconds"] for row in history))
