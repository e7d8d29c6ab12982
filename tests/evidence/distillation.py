"""Does distillation pay? Students with and without a teacher, each arm at its own best learning rate.

python tests/evidence/distillation.py [--cases resnet18-48-long] [--arms plain] [--seeds 5] [--processes 2] [--gpu]

Every training is one line of the ledger (tests/evidence/distillation.jsonl), written when it ends; the same command
goes on from there, and `--report` prints the tables of docs/distillation.md from the ledger alone. A line holds run,
score, commit and machine. Trainings are small, so that several share a GPU: give it as many processes as it has cores.

The teacher is the shipped one, which saw 3000 other drawn scenes. The case `lanes_folder` has real frames instead
(LANES_FOLDER=DIR names their folder, as for search_spaces/lanes_folder.toml): all arms start from one student of drawn
scenes, and the teacher is the shipped one, trained further on the labelled frames.

For each case and arm the learning rate is chosen on a seed of its own, among the same rates for all arms; then the
seeds of the comparison follow. Arms with frames without labels (960 other drawn scenes, half of each batch) train half
the epochs: as many steps. A seed fixes initial weights and data order, alike for all arms, so arms are compared seed by
seed: mean, standard deviation, and the mean of the paired differences to `plain` with its 95 % interval (Student's t).
The score is val/miou (of 96 drawn scenes, or of the frames of two drives) after the last epoch: no best epoch is
chosen, so no arm gains by chance.
"""

import argparse
import multiprocessing
import os
import platform
import sys
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch

from intra_search.config.parsing import parse_settings, with_overrides
from intra_search.config.recipes import INTRA_PRESET
from intra_search.config.seeding import derived_seed
from intra_search.config.study import StudySettings
from intra_search.distill.needs import Need
from intra_search.distill.unlabelled import asked_of
from intra_search.distill.workers import ALONE
from intra_search.knowledge.answering import Extraction, ShardTask, ShardWriter, plan_extraction
from intra_search.knowledge.records import Making
from intra_search.networks.shipped import checkpoint_storage
from intra_search.scenes.scene_set import open_scenes
from intra_search.store.bundle import read_bundle, write_bundle
from intra_search.store.ledger import checkpoint_name
from intra_search.store.storage import Storage
from intra_search.training.evaluation import validate
from intra_search.training.job import TrainingJob, teacher_job
from intra_search.training.loop import Training
from tests.compared_runs import Ledger, Queue, Run, table

LEDGER = Path(__file__).with_suffix(".jsonl")
TEACHER = "teacher/shipped"
RATES = (2.5e-3, 5e-3, 1e-2, 2e-2)
TREE: dict[str, Any] = {
    "scenes": {
        "classes": "category",
        "height": 80,
        "width": 208,
        "num_val": 96,
        "num_test": 1,
        "crop_top": 0.35,
        "augment": {"colour": 0.2},
        "views": 2,
    },
    "teacher": {
        "network": "pspnet_resnet18",
        "options": {"head_channels": 64, "width": 0.45},
        "training": {"amp": "off"},
        "checkpoint": "shipped:drawn_roads",
    },
    "student": {"resnet18": {"width": 0.125}, "erfnet": {"width": 0.25}},
    "distill": {"kd": {"stride": 4}},
    "training": {"batch_size": 4, "optimizer": "adamw", "background_weight": 0.1, "amp": "off"},
}


LANES: dict[str, Any] = {
    **TREE,
    "scenes": {
        "dataset": "folder",
        "root": os.environ.get("LANES_FOLDER", "."),
        "height": 120,
        "width": 208,
        "val_groups": ["yt_dZr34jTsV7A", "yt_5b7U_ZrU6dE"],
        "test_groups": ["yt_zaCMqlJ8GrM"],
        "views": 4,
        "augment": {"scale": [1.0, 1.25], "rotation": 3.0, "colour": 0.3},
    },
    "teacher": {
        **TREE["teacher"],
        "checkpoint": None,
        "init": "shipped:drawn_roads",
        "training": {**TREE["training"], "batch_size": 8, "epochs": 12, "learning_rate": 1.5e-3},
    },
    "training": {**TREE["training"], "batch_size": 8, "epochs": 12},
}
LANES_START: dict[str, Any] = {
    **LANES,
    "scenes": {**TREE["scenes"], "height": 120, "num_train": 1000, "crop_top": 0.0},
    "training": {**LANES["training"], "learning_rate": 5e-3},
}
"""The drawn scenes, at the frames' size, that all students of `lanes_folder` were trained on before."""
START, LANES_TEACHER = "start/drawn", "teacher/lanes"


class Case(NamedTuple):
    """One student on one set of labelled scenes, for so many epochs."""

    tree: dict[str, Any]
    network: str
    scenes: int
    epochs: int
    is_drawn: bool = True

    @property
    def changes(self) -> dict[str, Any]:
        changes = {"student.network": self.network, "training.epochs": self.epochs}
        return changes | ({"scenes.num_train": self.scenes} if self.is_drawn else {})

    @property
    def steps(self) -> int:
        """The same for every arm."""
        return self.epochs * (self.scenes // int(self.tree["training"]["batch_size"]))

    @property
    def teacher(self) -> str:
        """Its checkpoint, in the folder of the runs."""
        if self.is_drawn:
            return TEACHER
        return f"{LANES_TEACHER}/gen-1/{checkpoint_name(self.tree['teacher']['training']['epochs'])}"

    @property
    def start(self) -> str | None:
        """Checkpoint that every student starts from, in the folder of the runs."""
        return None if self.is_drawn else f"{START}/gen-1/{checkpoint_name(LANES_START['training']['epochs'])}"


CASES = {
    f"{network}-{scenes}-{length}": Case(TREE, network, scenes, epochs)
    for network in ("resnet18", "erfnet")
    for scenes, length, epochs in (
        (48, "short", 40),
        (48, "long", 120),
        (192, "short", 10),
        (192, "long", 40),
        (1000, "short", 4),
        (1000, "long", 12),
    )
} | {"lanes_folder": Case(LANES, "resnet18", 425, 12, is_drawn=False)}
WITHOUT_LOGITS = {f"distill.{path}": value for path, value in INTRA_PRESET.items() if not path.startswith("kd.")}
UNLABELLED: dict[str, Any] = {"scenes.unlabelled": ["synthetic:960"], "scenes.unlabelled_share": 0.5}
ARMS: dict[str, dict[str, Any]] = {
    "plain": {"distill.enabled": False},
    "paper": {"distill.preset": "paper"},
    "canonical": {"distill.preset": "canonical"},
    "intra without logits": WITHOUT_LOGITS,
    "intra": {"distill.preset": "intra"},
    "canonical, unlabelled": {"distill.preset": "canonical", **UNLABELLED},
    "intra without logits, unlabelled": {**WITHOUT_LOGITS, **UNLABELLED},
    "intra, unlabelled": {"distill.preset": "intra", **UNLABELLED},
    "pseudo-labels": {
        "distill.affinity.weight": 0.0,
        "distill.attention.weight": 0.0,
        "scenes.pseudo_labels": 0.9,
        **UNLABELLED,
    },
}


class Student(Training):
    """Trains without the validation after each epoch, which would take as long as the training itself."""

    def score(self) -> float:
        for epoch in range(self.job.training.epochs):
            self._train_epoch(epoch)
        settings = self.job.settings
        scenes = open_scenes(settings.scenes, "val")
        row = validate(self.network, scenes, settings, self._place, ALONE, batch_size=8)
        return float(row["val/miou"] or 0.0)


def settings_of(study: str, case: str, arm: str, rate: float) -> StudySettings:
    tree, start, epochs = CASES[case].tree, CASES[case].start, CASES[case].epochs
    base = with_overrides(parse_settings(tree), {**CASES[case].changes, "training.learning_rate": rate})
    settings = with_overrides(base, ARMS[arm])
    if start is not None:
        settings = with_overrides(settings, {"student.init": f"{study}/{start}"})
    return with_overrides(settings, {"training.epochs": epochs // 2}) if asked_of(settings).unlabelled else settings


def place_teacher(study: str) -> None:
    """Copies the shipped teacher into the folder of the runs."""
    bundle = read_bundle(checkpoint_storage("shipped:drawn_roads"), "")
    if not Storage(study).exists(TEACHER):
        write_bundle(Storage(study), TEACHER, bundle.files, bundle.about)


def starting_jobs(study: str, case: Case) -> list[TrainingJob]:
    """The trainings that a case of real frames needs first: its teacher, and the start of its students."""
    if case.is_drawn:
        return []
    student = with_overrides(parse_settings(LANES_START), {"student.network": case.network, "distill.enabled": False})
    settings = with_overrides(parse_settings(case.tree), case.changes)
    return [teacher_job(study, LANES_TEACHER, 1, settings), TrainingJob(study, START, 1, "student", student, 0)]


def train_to_the_end(job: TrainingJob, use_gpu: bool) -> float:
    """Goes on from its newest checkpoint; the last epoch's val/miou."""
    torch.set_num_threads(1)
    training = Training(job, use_gpu=use_gpu)
    while not training.finished:
        training.run_epoch()
    return float(training.history[-1]["val/miou"] or 0.0)


class Stored(NamedTuple):
    """URIs of the teacher's answers; None: not asked for."""

    labelled: str | None
    unlabelled: str | None


class Machine:
    """Processes that answer for the teacher and train students, on the processor or all on one GPU."""

    def __init__(self, study: str, pool: ProcessPoolExecutor, *, use_gpu: bool) -> None:
        self._study = study
        self._pool = pool
        self._use_gpu = use_gpu

    def store_answers(self, case: str, arms: Iterable[str]) -> dict[str, Stored]:
        """What the teacher is asked by each arm; what is there already is kept."""
        for job in [
            self._pool.submit(train_to_the_end, job, self._use_gpu) for job in starting_jobs(self._study, CASES[case])
        ]:
            print(f"{case}, before all arms: {job.result():.4f}", flush=True)
        every = {arm: settings_of(self._study, case, arm, RATES[0]) for arm in arms}
        teacher = CASES[case].teacher
        labelled = [(settings, asked_of(settings).labelled) for settings in every.values()]
        unlabelled = [(settings, asked_of(settings).unlabelled) for settings in every.values()]
        asked = {arm: asked_of(settings) for arm, settings in every.items()}
        return {
            arm: Stored(
                self._extracted(teacher, labelled, False) if needs.labelled else None,
                self._extracted(teacher, unlabelled, True) if needs.unlabelled else None,
            )
            for arm, needs in asked.items()
        }

    def _extracted(self, teacher: str, asking: list[tuple[StudySettings, frozenset[Need]]], unlabelled: bool) -> str:
        """The store that holds what all these settings ask for: they differ in terms, not in scenes."""
        needs = frozenset[Need]().union(*(part for _, part in asking))
        settings = next(settings for settings, part in asking if part)
        plan = plan_extraction(
            Storage(self._study), teacher, settings, needs, lambda: Making(1, "off"), unlabelled=unlabelled
        )
        tasks = [
            self._pool.submit(answer, self._study, teacher, settings, plan, task, self._use_gpu) for task in plan.tasks
        ]
        for done in tasks:
            done.result()
        plan.store.finish(plan.keys)
        return plan.store.storage.uri

    def start(self, run: Run, stored: Stored) -> Future[float]:
        return self._pool.submit(score, self._study, stored, run, self._use_gpu)


def answer(study: str, teacher: str, settings: StudySettings, plan: Extraction, task: ShardTask, use_gpu: bool) -> None:
    """Writes one shard of the teacher's answers."""
    ShardWriter(Storage(study), teacher, settings, plan.making, use_gpu=use_gpu).write(task)


def score(study: str, stored: Stored, run: Run, use_gpu: bool) -> float:
    """val/miou of one training after its last epoch."""
    torch.set_num_threads(1)
    seed = derived_seed(run.seed, run.case)  # the same for every arm
    folder = "runs/" + "-".join(str(part).replace(" ", "_") for part in run)
    settings = settings_of(study, run.case, run.arm, run.rate)
    job = TrainingJob(
        study, folder, 1, "student", settings, seed, stored.labelled, unlabelled_knowledge=stored.unlabelled
    )
    return Student(job, use_gpu=use_gpu).score()


def described_machine(use_gpu: bool) -> str:
    isa = torch.cuda.get_device_name() if use_gpu else os.environ.get("ONEDNN_MAX_CPU_ISA", "all instructions")
    return f"{platform.machine()}, {os.cpu_count()} cores, {isa}"


def report(ledger: Ledger) -> None:
    for name, case in CASES.items():
        rows = table(ledger, name, ARMS)
        if len(rows) > 2:
            kind = "drawn" if case.is_drawn else "real"
            print(f"\n{name}: {case.scenes} labelled {kind} scenes, {case.epochs} epochs = {case.steps} steps\n")
            print("\n".join(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ledger", type=Path, default=LEDGER)
    parser.add_argument("--study", default="studies/distillation", help="folder of the teacher's answers")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=[name for name in CASES if CASES[name].is_drawn])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--gpu", action="store_true", help="train on the GPU, all processes on the first one")
    parser.add_argument("--report", action="store_true", help="train nothing, print the tables")
    options = parser.parse_args()
    options.study = str(Path(options.study).resolve())
    ledger = Ledger(options.ledger)
    if not options.report:
        place_teacher(options.study)
        spawned = multiprocessing.get_context("spawn")  # a forked process cannot use the GPU
        with ProcessPoolExecutor(options.processes, mp_context=spawned) as pool:
            compare(Machine(options.study, pool, use_gpu=options.gpu), ledger, options)
    report(ledger)


def compare(machine: Machine, ledger: Ledger, options: argparse.Namespace) -> None:
    """Chooses the rate of every arm, then trains it with the seeds of the comparison. The first case goes first."""
    queue = Queue(ledger, options.cases, options.arms, RATES, options.seeds)
    stores: dict[str, dict[str, Stored]] = {}
    running: dict[Future[float], Run] = {}
    while (ready := queue.next()) or running:
        if ready and len(running) < options.processes:
            if ready.case not in stores:
                stores[ready.case] = machine.store_answers(ready.case, options.arms)
            running[machine.start(queue.pop(), stores[ready.case][ready.arm])] = ready
            continue
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            run = running.pop(future)
            ledger.add(run, future.result(), described_machine(options.gpu))
            print(f"{run.case}, {run.arm}, rate {run.rate:g}, seed {run.seed}: {ledger.scores[run]:.4f}", flush=True)


if __name__ == "__main__":
    main()
