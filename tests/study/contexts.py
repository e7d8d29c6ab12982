"""A context for steps that need no cluster, and a listener that keeps the notes."""

from intra_search.cluster.capacity import Cluster
from intra_search.config.study_file import StudyPlan
from intra_search.store.events import Event, Note
from intra_search.store.study_folder import StudyFolder
from intra_search.study.context import StudyContext

CLUSTER = Cluster(cpus=2.0, gpus=0.0, cpus_alone=2.0, gpus_alone=0.0, trial_cpus=1.0, trial_gpus=0.0, places=2)


class Notes(list[str]):
    """Keeps the text of each note. No other event is expected."""

    def __call__(self, event: Event) -> None:
        assert isinstance(event, Note)
        self.append(event.text)


def context_of(folder: StudyFolder, plan: StudyPlan, notes: Notes, generation: int = 1) -> StudyContext:
    return StudyContext(folder, plan, generation, "f" * 64, CLUSTER, notes)
