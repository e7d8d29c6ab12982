"""What `run --dry-run` prints: the resolved settings, samples of the space, its size, and the teacher's cost."""

import random
from collections.abc import Mapping

import tomli_w
from rich.console import Console

from intra_search.config.study_file import StudyPlan
from intra_search.errors import IntraSearchError
from intra_search.report.terminal import point_text, print_lines
from intra_search.search.stopping.halving import rungs
from intra_search.store.study_folder import without_none

NUM_SAMPLES = 5


def print_plan(console: Console, plan: StudyPlan) -> None:
    """Runs no step of the study. Lists the data set's scenes and makes some passes through untrained networks."""
    settings, space = plan.settings, plan.space
    lines = tomli_w.dumps(without_none(settings.model_dump(mode="json"))).split("\n")
    lines.append(f"# space: {len(space.domains)} settings, {space.size()}")
    lines += [f"# trial {number} (fixed): {point_text(point)}" for number, point in enumerate(space.points)]
    rng = random.Random(settings.seed)
    lines += [f"# sample: {point_text(space.sample(rng))}" for _ in range(NUM_SAMPLES)]
    epochs = [str(rung) for rung in rungs(settings.search.halving, settings.training.epochs)]
    compared = f"compared at epochs {', '.join(epochs)}" if epochs else "never stopped early"
    lines.append(f"# {settings.search.num_trials} trials of up to {settings.training.epochs} epochs, {compared}")
    print_lines(console, lines)
    # Printed by itself, since it takes some seconds.
    print_lines(console, _knowledge_lines(plan))


def _knowledge_lines(plan: StudyPlan) -> list[str]:
    """Size and time of stored knowledge beside a live teacher; the reason where they cannot be estimated."""
    from intra_search.knowledge.spec import needs_of_space, needs_without_labels_of_space
    from intra_search.scenes.scene_set import open_scenes
    from intra_search.scenes.unlabelled_set import open_unlabelled

    settings = plan.settings
    needs = needs_of_space(plan.space)
    if not needs and not needs_without_labels_of_space(plan.space):
        return ["# knowledge: no setting asks the teacher"]
    try:
        scenes, frames = open_scenes(settings.scenes, "train"), open_unlabelled(settings.scenes)
    except IntraSearchError as error:
        return [f"# knowledge: not estimated without the data set: {error}"]
    from intra_search.knowledge.estimate import answer_bytes, estimated_bill, excess, total_bytes
    from intra_search.study.knowledge_mode import distilling_share

    counts = {"num_classes": len(scenes.classes), "num_scenes": len(scenes)}
    if frames is not None and needs_without_labels_of_space(plan.space):
        counts["num_unlabelled"] = len(frames)
    bill = estimated_bill(settings, needs, **counts)
    share = distilling_share(plan.space, settings.seed)
    teachers = len(plan.space.values_of("teacher.checkpoint"))
    bill = bill._replace(extraction=teachers * bill.extraction, live_teacher=share * bill.live_teacher)
    search = settings.search
    students = f"students {_hours(bill.students)}"
    place = f"on this machine's CPU, untrained networks, no trial stopped early, {share:.0%} of them distilling"
    if settings.knowledge.mode == "live" or not isinstance(settings.scenes.views, int):
        live = (
            f"{search.num_trials} trials take {_hours(bill.live)}, {students} and teacher {_hours(bill.live_teacher)}"
        )
        return [f"# knowledge: the teacher runs live; {live} ({place})"]
    sizes = answer_bytes(settings, needs, counts["num_classes"])
    in_store = {name: count if name == "num_classes" else teachers * count for name, count in counts.items()}
    total = total_bytes(settings, needs, **in_store)
    others = f" and {counts['num_unlabelled']} frames without labels" if "num_unlabelled" in counts else ""
    views = f"{settings.scenes.views} x {len(scenes)} views{others}" + (
        f" of {teachers} teachers" if teachers > 1 else ""
    )
    uri = settings.knowledge.store
    too_large = excess(settings, needs, **in_store, is_local="://" not in (uri or ""))
    lines = [
        f"# knowledge: {_bytes(sum(sizes.values()))} per view ({_shares(sizes)}), {_bytes(total)} for {views}",
        f"# knowledge: extraction {_hours(bill.extraction)}; {search.num_trials} trials then {students}, "
        f"in all {_hours(bill.stored)}; with a live teacher {_hours(bill.live)} ({place})",
    ]
    if too_large:
        lines.append(f"# knowledge: the teacher will run live: {too_large}")
    elif settings.knowledge.mode == "auto":
        lines.append("# knowledge: mode = auto times both with the trained teacher and decides")
    return lines


def _shares(sizes: Mapping[str, int]) -> str:
    """Bytes by kind of answer; the kind is the first part of an answer's name."""
    kinds: dict[str, int] = {}
    for name, size in sizes.items():
        kind = name.partition("/")[0]
        kinds[kind] = kinds.get(kind, 0) + size
    return ", ".join(f"{kind} {_bytes(size)}" for kind, size in sorted(kinds.items()))


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"


def _hours(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.2g} min" if seconds < 3600 else f"{seconds / 3600:.3g} h"
