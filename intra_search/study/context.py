"""What every step of a study is given: one driver start, on a connected cluster."""

from dataclasses import dataclass
from functools import cached_property

from intra_search.cluster.capacity import Cluster
from intra_search.config.objectives import Objectives
from intra_search.config.study import StudySettings
from intra_search.config.study_file import StudyPlan
from intra_search.distill.needs import Need
from intra_search.knowledge.spec import needs_of_space, needs_without_labels_of_space
from intra_search.store.events import Note, Tell
from intra_search.store.study_folder import StudyFolder


@dataclass(frozen=True)
class StudyContext:
    """One driver start. A step is a function `ensure(context, …)` in a file of its own: it looks at what the study
    already holds, makes what is missing, and returns it."""

    folder: StudyFolder
    plan: StudyPlan
    generation: int
    """Number of this driver start."""
    fingerprint: str
    """Hash of the study's scenes."""
    cluster: Cluster
    tell: Tell
    """Told of everything that happens; it may raise `KeyboardInterrupt` where the study is to be left."""

    @property
    def settings(self) -> StudySettings:
        return self.plan.settings

    @cached_property
    def objectives(self) -> Objectives:
        return Objectives.of(self.settings)

    @cached_property
    def needs(self) -> frozenset[Need]:
        """What the losses of any trial may ask the teacher; empty when none asks it."""
        return needs_of_space(self.plan.space)

    @cached_property
    def unlabelled_needs(self) -> frozenset[Need]:
        """The same about frames without labels."""
        return needs_without_labels_of_space(self.plan.space)

    @property
    def asks_teacher(self) -> bool:
        return bool(self.needs or self.unlabelled_needs)

    def note(self, text: str) -> None:
        """Tells a decision or a step in one line."""
        self.tell(Note(text))
