"""Step: what a trained student must beat, two networks that learned nothing."""

from intra_search.config.objectives import value_text
from intra_search.store.artefacts import Baselines
from intra_search.study.context import StudyContext


def ensure(context: StudyContext) -> Baselines:
    """The study's baselines: stored, or measured now."""
    from intra_search.training.worker import measure_baselines

    found = context.folder.baselines.find()
    if found is not None:
        return found
    space, cluster = context.plan.space, context.cluster
    first = space.settings(space.points[0])
    measured = measure_baselines(first, cpus=cluster.cpus_alone, gpus=cluster.gpus_alone)
    background = context.objectives.lead.text(measured.background)
    stored = context.folder.baselines.write(measured)
    context.note(f"{background} for background only, {value_text(measured.untrained)} untrained")
    return stored
