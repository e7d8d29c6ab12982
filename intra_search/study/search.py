"""Step: the trials of the search."""

from intra_search.search.work import Assignment, WorkSource
from intra_search.store.artefacts import Teacher
from intra_search.store.ledger import trial_folder
from intra_search.study.context import StudyContext


def ensure(context: StudyContext, work: WorkSource, teacher: Teacher | None, knowledge: str | None) -> None:
    """Runs the trials that are missing.

    Args:
        work: the conductor of the study's ledger.
        knowledge: URI of the stored knowledge; None when the teacher runs live, or nothing asks it.
    """
    from intra_search.search.tune.run import run_trials
    from intra_search.training.job import TrainingJob, student_job

    def make_job(assignment: Assignment) -> TrainingJob:
        return student_job(
            study=context.folder.storage.uri,
            trial=assignment.trial,
            folder=trial_folder(assignment.trial),
            generation=assignment.generation,
            settings=assignment.settings,
            knowledge=knowledge,
            teacher=teacher.checkpoint if teacher else "",
        )

    run_trials(work, make_job, context.settings, context.cluster)
