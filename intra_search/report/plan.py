"""What `run --dry-run` prints: the resolved settings, samples of the space, and its size."""

import random

import tomli_w
from rich.console import Console

from intra_search.config.study_file import StudyPlan
from intra_search.report.terminal import point_text
from intra_search.search.halving import rungs
from intra_search.store.study_folder import without_none

NUM_SAMPLES = 5


def print_plan(console: Console, plan: StudyPlan) -> None:
    """Runs nothing and opens no data set."""
    settings, space = plan.settings, plan.space
    lines = [tomli_w.dumps(without_none(settings.model_dump(mode="json")))]
    lines.append(f"# space: {len(space.domains)} settings, {space.size()}")
    lines += [f"# trial {number} (fixed): {point_text(point)}" for number, point in enumerate(space.points)]
    rng = random.Random(settings.seed)
    lines += [f"# sample: {point_text(space.sample(rng))}" for _ in range(NUM_SAMPLES)]
    epochs = [str(rung) for rung in rungs(settings.search.halving, settings.training.epochs)]
    compared = f"compared at epochs {', '.join(epochs)}" if epochs else "never stopped early"
    lines.append(f"# {settings.search.num_trials} trials of up to {settings.training.epochs} epochs, {compared}")
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
