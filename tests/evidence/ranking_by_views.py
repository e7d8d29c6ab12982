"""Do stored views change which settings win? Eight settings ranked under 1, 4 and 16 stored views and under fresh ones.

python tests/evidence/ranking_by_views.py [--out FILE] [--seeds 2] [--processes 2] [--tiny]

Drawn roads, 64 training scenes, 24 epochs: a student sees 1536 views, so K = 1 shows each view 24 times and K = 16 one
and a half times. One teacher answers all: stored for K views, live for fresh ones. The teacher and 64 trainings, of
some 25 (stored) to 50 seconds (live) of one core, take about 20 minutes on two idle cores. Each result is written at
once to FILE; the same command goes on from there.

How to read it. Each training has a seed of its own, so a ranking carries the noise of one training per setting. The
last line of the table, fresh against fresh with another seed, is what that noise alone leaves of Kendall's tau (1: the
same order; 0: none in common). A line K says how well rankings under K stored views agree with rankings under fresh
ones: where it is about as high as the last line, K views rank the settings as well as fresh ones do, and the smallest
such K is the one to store. Where it is clearly lower, so few views change the winners. A tau compares 28 pairs of
settings, and with two seeds a line is a mean of four (the last one: of one), so differences below about 0.2 mean
nothing. The mean score beside it says what the students lose by seeing fewer views, which may happen without any change
of order.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Literal, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from scipy.stats import kendalltau

from intra_search.config.objectives import Objectives
from intra_search.config.parsing import parse_settings, with_overrides
from intra_search.config.seeding import derived_seed
from intra_search.config.study import StudySettings
from intra_search.distill.loss import needs_of
from intra_search.distill.workers import ALONE
from intra_search.knowledge.answering import ShardWriter, plan_extraction
from intra_search.knowledge.records import Making
from intra_search.networks.placement import place
from intra_search.scenes.scene_set import open_scenes
from intra_search.store.ledger import find_checkpoint
from intra_search.store.storage import Storage
from intra_search.training.evaluation import validate
from intra_search.training.job import TrainingJob, teacher_job
from intra_search.training.loop import Training

Views = int | Literal["fresh"]
ARMS: tuple[Views, ...] = (1, 4, 16, "fresh")
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"distill.enabled": False},
    "paper": {},
    "affinity 1": {"distill.affinity.weight": 1.0},
    "affinity 5": {"distill.affinity.weight": 5.0},
    "mean only, 1": {"distill.affinity.weight": 1.0, "distill.affinity.orders": [1]},
    "attention 0.5": {"distill.affinity.weight": 0.0, "distill.attention.weight": 0.5},
    "kernel 11, 1": {"distill.affinity.weight": 1.0, "distill.affinity.kernel_size": 11},
    "logits 1": {
        "distill.affinity.weight": 0.0,
        "distill.attention.weight": 0.0,
        "distill.kd.weight": 1.0,
        "distill.kd.stride": 4,
    },
}
TREE: dict[str, Any] = {
    "scenes": {
        "classes": "category",
        "height": 80,
        "width": 208,
        "num_train": 64,
        "num_val": 96,
        "num_test": 1,
        "crop_top": 0.35,
        "augment": {"scale": [0.8, 1.5], "rotation": 4.0, "colour": 0.3},
        "views": "fresh",
    },
    "knowledge": {"mode": "live"},
    "teacher": {
        "network": "pspnet_resnet18",
        "options": {"head_channels": 64},
        "training": {
            "epochs": 24,
            "batch_size": 8,
            "optimizer": "adamw",
            "learning_rate": 2e-3,
            "background_weight": 0.1,
        },
    },
    # Not ERFNet: in so short a training it hardly leaves "background only", and its rankings are noise (41 trainings
    # gave val/miou 0.084 to 0.106, the background's being 0.084).
    "student": {"network": "resnet18", "resnet18": {"width": 0.125}},
    "training": {
        "epochs": 24,
        "batch_size": 4,
        "optimizer": "adamw",
        "learning_rate": 5e-3,
        "background_weight": 0.1,
    },
}
TINY = {
    "scenes.num_train": 8,
    "scenes.num_val": 4,
    "teacher.training.epochs": 1,
    "training.epochs": 2,
    "scenes.height": 32,
    "scenes.width": 64,
}


class Run(NamedTuple):
    """One training."""

    setting: str
    views: Views
    seed: int


class Student(Training):
    """Trains without the validation after each epoch, which would take as long as the training itself."""

    def score(self) -> float:
        for epoch in range(self.job.training.epochs):
            self._train_epoch(epoch)
        settings = self.job.settings
        scenes = open_scenes(settings.scenes, "val")
        row = validate(self.network, scenes, settings, place("off", use_gpu=False), ALONE, batch_size=8)
        return float(row["val/miou"] or 0.0)


def base_settings(*, tiny: bool) -> StudySettings:
    return with_overrides(parse_settings(TREE), TINY if tiny else {})


def train_teacher(study: str, settings: StudySettings) -> str:
    """Path of the teacher's best checkpoint in the study."""
    training = Training(teacher_job(study, "teacher", 1, settings))
    while not training.finished:
        training.run_epoch()
    best = Objectives.of(training.job.settings).best_epoch(training.history)
    print(f"teacher: val/miou {training.history[best - 1]['val/miou']:.4f}", flush=True)
    return str(find_checkpoint(Storage(study), "teacher", best))


def settings_of(views: Views, seed: int, tiny: bool) -> StudySettings:
    """The seed of views is the study's, so stored views differ between seeds as fresh ones do."""
    return with_overrides(base_settings(tiny=tiny), {"scenes.views": views, "seed": seed})


def store_answers(study: str, teacher: str, views: int, seed: int, tiny: bool) -> str:
    """URI of the answers that any of the settings asks for; what is there already is kept."""
    settings, storage = settings_of(views, seed, tiny), Storage(study)
    needs = frozenset(
        need for changes in SETTINGS.values() for need in needs_of(with_overrides(settings, changes).distill)
    )
    plan = plan_extraction(storage, teacher, settings, needs, lambda: Making(1, "off"))
    writer = ShardWriter(storage, teacher, settings, plan.making, use_gpu=False)
    for task in plan.tasks:
        writer.write(task)
    plan.store.finish(plan.keys)
    return plan.store.storage.uri


def score(study: str, teacher: str, knowledge: str | None, run: Run, tiny: bool) -> float:
    """val/miou of one training after its last epoch."""
    torch.set_num_threads(1)
    settings = with_overrides(settings_of(run.views, run.seed, tiny), SETTINGS[run.setting])
    seed = derived_seed(run.seed, run.setting, str(run.views))
    live = teacher if knowledge is None else None
    folder = f"runs/{run.setting}-{run.views}-{run.seed}"
    return Student(TrainingJob(study, folder, 1, "student", settings, seed, knowledge=knowledge, teacher=live)).score()


def report(scores: Mapping[Run, float], seeds: range) -> None:
    """The scores, and the taus of each K against fresh views."""
    ranking = {(arm, seed): [scores[Run(name, arm, seed)] for name in SETTINGS] for arm in ARMS for seed in seeds}
    columns = [f"{arm}/{seed}" for arm in ARMS for seed in seeds]
    print(f"{'val/miou by setting, views/seed':32s}" + "".join(f"{column:>10s}" for column in columns))
    for place_, name in enumerate(SETTINGS):
        values = [ranking[arm, seed][place_] for arm in ARMS for seed in seeds]
        print(f"{name:32s}" + "".join(f"{value:10.4f}" for value in values))
    print(f"{'rankings under':32s}{'tau with fresh views':>32s}{'mean val/miou':>16s}")
    for arm in ARMS:
        pairs = [(a, b) for a in seeds for b in seeds if arm != "fresh" or a < b]
        taus = [float(kendalltau(ranking[arm, a], ranking["fresh", b]).statistic) for a, b in pairs]
        mean = sum(sum(ranking[arm, seed]) for seed in seeds) / (len(seeds) * len(SETTINGS))
        shown = " ".join(f"{tau:.2f}" for tau in sorted(taus))
        print(f"{f'{arm} views':32s}{sum(taus) / len(taus):20.2f} ({shown}){mean:14.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=None, help="results, one JSON line each; default: a temporary file")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--tiny", action="store_true", help="a few steps, to see that it runs")
    options = parser.parse_args()
    seeds = range(options.seeds)
    with tempfile.TemporaryDirectory() as temporary:
        out = options.out or Path(temporary) / "scores.jsonl"
        study = f"{out.absolute()}.study"
        rows = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
        scores = {Run(*row["run"]): row["score"] for row in rows}
        teacher = train_teacher(study, base_settings(tiny=options.tiny))
        stores = {
            (arm, seed): None if arm == "fresh" else store_answers(study, teacher, arm, seed, options.tiny)
            for arm in ARMS
            for seed in seeds
        }
        wanted = [Run(name, arm, seed) for seed in seeds for arm in ARMS for name in SETTINGS]
        with ProcessPoolExecutor(options.processes) as pool:
            missing = [run for run in wanted if run not in scores]
            futures = {
                pool.submit(score, study, teacher, stores[run.views, run.seed], run, options.tiny): run
                for run in missing
            }
            for future in as_completed(futures):
                run = futures[future]
                scores[run] = future.result()
                with out.open("a") as file:
                    file.write(json.dumps({"run": run, "score": scores[run]}) + "\n")
                print(f"{run.setting}, {run.views} views, seed {run.seed}: {scores[run]:.4f}", flush=True)
        report(scores, seeds)


if __name__ == "__main__":
    main()
