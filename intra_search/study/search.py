"""Step: the trials of the search."""

from collections.abc import Mapping
from typing import NamedTuple

from intra_search.search.work import Assignment, WorkSource
from intra_search.store.artefacts import Teacher
from intra_search.store.ledger import trial_folder
from intra_search.study.context import StudyContext
from intra_search.study.knowledge import Stored


class Taught(NamedTuple):
    """A teacher, and what it answered."""

    teacher: Teacher
    knowledge: Stored | None
    """Where its answers are stored; None when the teacher runs live."""


def ensure(context: StudyContext, work: WorkSource, taught: Mapping[str | None, Taught]) -> None:
    """Runs the trials that are missing.

    Args:
        work: the conductor of the study's ledger.
        taught: by `teacher.checkpoint`; empty when nothing asks a teacher.
    """
    from intra_search.search.tune.run import run_trials
    from intra_search.training.job import TrainingJob, student_job

    def make_job(assignment: Assignment) -> TrainingJob:
        own = taught[assignment.settings.teacher.checkpoint] if taught else None
        return student_job(
            study=context.folder.storage.uri,
            trial=assignment.trial,
            folder=trial_folder(assignment.trial),
            generation=assignment.generation,
            settings=assignment.settings,
            knowledge=own.knowledge.labelled if own and own.knowledge else None,
            unlabelled_knowledge=own.knowledge.unlabelled if own and own.knowledge else None,
            teacher=own.teacher.checkpoint if own else "",
        )

    run_trials(work, make_job, context.settings, context.cluster)
