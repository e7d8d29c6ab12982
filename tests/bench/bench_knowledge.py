"""What a training step costs on stored knowledge and beside a live teacher, against the plain student in the same run.

    python tests/bench/bench_knowledge.py [--gpu]

At (a) ERFNet and PSPNet-ResNet-101 at 288 x 800 in batches of 4, and (b) the quickstart's networks and size. Steps
include loading; epochs of the three kinds take turns, and the quickest of each counts, so a busy machine slows all.
Networks are untrained: numbers do not change the time. Each recipe (`distill.preset`) has a row, the paper's being what
earlier releases took by default, and so has what `distill.balance` costs. Then the loader alone, bytes per view, and
the total cost of a search, computed from these parts. Needs no data; about eight minutes on two cores.

`--gpu` times the recipes' steps on the GPU (bfloat16, channels-last, by `training.amp = "auto"`), on batches that are
loaded already; nothing else.
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from intra_search.config.parsing import parse_settings, with_overrides
from intra_search.config.study import StudySettings
from intra_search.config.study_file import load_study
from intra_search.distill.loss import needs_of
from intra_search.distill.workers import ALONE
from intra_search.knowledge.answering import ShardWriter, plan_extraction
from intra_search.knowledge.estimate import answer_bytes
from intra_search.knowledge.reader import open_knowledge
from intra_search.knowledge.records import Making
from intra_search.networks.build import build_network
from intra_search.networks.checkpoint import Checkpoint, save_checkpoint
from intra_search.scenes.scene_set import open_scenes
from intra_search.scenes.writers.formats import draw_data_set, draw_order
from intra_search.store.storage import Storage
from intra_search.training.batches import ViewOrder, training_loader
from intra_search.training.job import student_job
from intra_search.training.loop import Training

NUM_TRIALS, EPOCHS, NUM_SCENES, NUM_VIEWS = 32, 20, 1000, 2
"""The search whose total cost is computed."""
GOALS = {"(a)": 1.08, "(b) quickstart": 1.15}
"""Step time on stored knowledge, as a multiple of the plain student's."""
RECIPES = ("paper", "canonical", "intra")
QUICKSTART = Path(__file__).parents[2] / "search_spaces/quickstart.toml"


class Case(NamedTuple):
    """One pair of networks at one size."""

    name: str
    settings: StudySettings
    threads: int
    """Threads that torch may use."""
    rounds: int
    """Epochs of each kind; the live one has fewer where it is slow."""
    live_rounds: int


class Parts(NamedTuple):
    """Seconds per step of each kind, and per view of the extraction."""

    plain: float
    stored: float
    live: float
    reading: float
    """Part of a step on stored knowledge: reading the answers. The rest is computing the terms."""
    extraction: float
    recipes: dict[str, float]
    """A step of each recipe, on stored knowledge."""
    balance: float
    """What measuring gradients adds to a step of the intra recipe, spread over `balance_every` steps."""


def cases() -> list[Case]:
    large = parse_settings(
        {
            "scenes": {"height": 288, "width": 800, "num_train": 12, "num_val": 4, "num_test": 4},
            "training": {"batch_size": 4, "epochs": 100, "amp": "off"},
            "teacher": {"training": {"amp": "off"}},
        }
    )
    small = with_overrides(
        load_study(QUICKSTART).settings, {"scenes.num_val": 4, "training.epochs": 100, "training.amp": "off"}
    )
    return [
        Case("(a)", large, torch.get_num_threads(), 3, 1),
        Case("(b) quickstart", small, int(small.resources.cpus_per_worker), 5, 3),  # threads as its trials have
    ]


def described(settings: StudySettings) -> str:
    student, scenes = settings.student, settings.scenes
    size = f"{scenes.height} x {scenes.width}, batch {settings.training.batch_size}"
    return f"{student.network} of width {student.options()['width']}, {settings.teacher.network}, {size}"


def save_teacher(storage: Storage, settings: StudySettings, num_classes: int) -> str:
    """An untrained teacher's checkpoint; returns its path."""
    torch.manual_seed(0)
    name, options = settings.teacher.network, settings.teacher.options.model_dump()
    network = build_network(name, num_classes, **options)
    _set_batch_norms(network, settings)
    about = {"network": {"name": name, "num_classes": num_classes, "options": options}, "history": []}
    return save_checkpoint(storage, "teacher/t", 1, Checkpoint(network.state_dict(), {}, about))


def _set_batch_norms(network: nn.Module, settings: StudySettings) -> None:
    """Takes the statistics of one batch of noise: else the features of a deep untrained network leave float16."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(2, 3, settings.scenes.height, settings.scenes.width))


def extract(storage: Storage, teacher: str, settings: StudySettings, *, use_gpu: bool = False) -> tuple[str, float]:
    """The store's URI and seconds per view."""
    plan = plan_extraction(
        storage, teacher, settings, needs_of(settings.distill), lambda: Making(torch.get_num_threads(), "off")
    )
    writer = ShardWriter(storage, teacher, settings, plan.making, use_gpu=use_gpu)
    started = time.perf_counter()
    for task in plan.tasks:
        writer.write(task)
    seconds = time.perf_counter() - started
    plan.store.finish(plan.keys)
    return plan.store.storage.uri, seconds / (plan.store.source.num_scenes * plan.store.source.num_views)


def measure(case: Case, folder: Path) -> Parts:
    storage = Storage(folder)
    num_classes = len(open_scenes(case.settings.scenes, "train").classes)
    teacher = save_teacher(storage, case.settings, num_classes)
    recipes = {name: with_overrides(case.settings, {"distill.preset": name}) for name in RECIPES}
    for settings in recipes.values():
        extract(storage, teacher, settings)
    store, per_view = extract(storage, teacher, with_overrides(case.settings, {"knowledge.store": str(folder / "own")}))
    report_bytes(case.settings, num_classes, Storage(store))
    plain = with_overrides(case.settings, {"distill.enabled": False})
    kinds = {"plain": (plain, None), "stored": (case.settings, store), "live": (case.settings, None)}
    kinds |= {name: (settings, extract(storage, teacher, settings)[0]) for name, settings in recipes.items()}
    trainings = {}
    for kind, (settings, knowledge) in kinds.items():
        home = f"trials/{kind}"
        trainings[kind] = Training(student_job(storage.uri, 0, home, 1, settings, knowledge=knowledge, teacher=teacher))
        trainings[kind].run_epoch()  # draws the scenes, which all three keep; sets up the convolutions
    steps = len(open_scenes(case.settings.scenes, "train")) // case.settings.training.batch_size
    best = dict.fromkeys(kinds, float("inf"))
    for turn in range(case.rounds):
        for kind, training in trainings.items():
            if kind != "live" or turn < case.live_rounds:
                best[kind] = min(best[kind], training.run_epoch()["train_seconds"] / steps)
    reading = case.settings.training.batch_size * read_seconds(Storage(store), case.settings)
    of_recipe = {name: best[name] for name in RECIPES}
    balance = balance_seconds(trainings["intra"])
    return Parts(best["plain"], best["stored"], best["live"], reading, per_view, of_recipe, balance)


def balance_seconds(training: Training) -> float:
    """What steps that measure gradients take longer than others, spread over all steps."""
    batch, norms = next(iter(training._loader)), training._student_loss.norms
    best = {}
    for kind, step in (("other", 3), ("measuring", 4)):  # 4 is a power of two
        seconds = []
        for _ in range(5):
            norms._steps = step
            started = time.perf_counter()
            training._train_step(batch, 0.5)
            seconds.append(time.perf_counter() - started)
        best[kind] = min(seconds)
    return (best["measuring"] - best["other"]) / training.job.settings.distill.balance_every


def read_seconds(store: Storage, settings: StudySettings) -> float:
    """Seconds per view."""
    reader = open_knowledge(store, needs_of(settings.distill), {}, node_cache_gb=1.0)
    rounds = 20
    reader.answers(0, 0)
    started = time.perf_counter()
    for _ in range(rounds):
        for scene in range(8):
            reader.answers(scene, 0)
    return (time.perf_counter() - started) / (8 * rounds)


def report_bytes(settings: StudySettings, num_classes: int, store: Storage) -> None:
    told = sum(answer_bytes(settings, needs_of(settings.distill), num_classes).values())
    views = len(open_scenes(settings.scenes, "train")) * int(settings.scenes.views)
    found = sum(size for name, size in store.sizes().items() if name.endswith(".arrow")) / views
    say(f"  {told} bytes per view by shape, {found:.0f} on disk (default terms)")


def report(case: Case, parts: Parts) -> None:
    plain = parts.plain
    say(f"  plain {1e3 * plain:.1f} ms per step")
    say(f"  stored {1e3 * parts.stored:.1f} ms, {parts.stored / plain:.3f} x plain (default terms)")
    say(f"         of which {1e3 * parts.reading:.2f} ms read the answers, {parts.reading / plain:.3f} x plain")
    for name, seconds in parts.recipes.items():
        goal = GOALS[case.name]
        say(f"  {name:9} {1e3 * seconds:.1f} ms, {seconds / plain:.3f} x plain (goal: at most {goal})")
    say(f"  balance adds {1e3 * parts.balance:.3f} ms, {parts.balance / plain:.4f} of a plain step (goal: 0.03)")
    say(f"  live   {1e3 * parts.live:.1f} ms, {parts.live / plain:.3f} x plain")
    steps = NUM_TRIALS * EPOCHS * NUM_SCENES / case.settings.training.batch_size
    extraction = NUM_SCENES * NUM_VIEWS * parts.extraction
    stored, live = extraction + steps * parts.stored, steps * parts.live
    say(f"  extraction {1e3 * parts.extraction:.1f} ms per view")
    say(
        f"  bill of {NUM_TRIALS} trials of {EPOCHS} epochs on {NUM_SCENES} scenes with {NUM_VIEWS} views: "
        f"stored {stored / 3600:.2f} h (extraction {extraction / 3600:.2f} h), live {live / 3600:.2f} h: "
        f"{live / stored:.2f} x as much; plain {steps * plain / 3600:.2f} h"
    )


def loader_speed(folder: Path) -> None:
    """Views per second of the loader alone, from CULane's JPEG frames (1640 x 590) to 288 x 800."""
    draw_data_set(folder / "culane", "culane", draw_order("culane", 40, 0, None, None))
    scenes = {"dataset": "culane", "root": str(folder / "culane"), "height": 288, "width": 800, "views": 2}
    tree: dict[str, Any] = {"scenes": scenes, "teacher": {"network": "pspnet_resnet18", "training": {"amp": "off"}}}
    settings = parse_settings(tree)
    storage = Storage(folder / "study")
    num_classes = len(open_scenes(settings.scenes, "train").classes)
    store, _ = extract(storage, save_teacher(storage, settings, num_classes), settings)
    for cache in (False, True):
        opened = open_scenes(settings.scenes.model_copy(update={"cache": cache}), "train")
        order = ViewOrder(len(opened), 2, 4, 0, ALONE)
        for with_knowledge in (False, True):
            needs = needs_of(settings.distill)
            reader = open_knowledge(Storage(store), needs, {}, node_cache_gb=1.0) if with_knowledge else None
            loader = training_loader(opened, order, reader, 0, num_processes=0, pin=False)
            best = min(epoch_seconds(loader) for _ in range(3))
            kind = "with answers" if with_knowledge else "without    "
            say(f"  scene cache {'on ' if cache else 'off'}, {kind}: {4 * len(order) / best:.0f} views/s")


def epoch_seconds(loader: Any) -> float:
    started = time.perf_counter()
    for _ in loader:
        pass
    return time.perf_counter() - started


def on_gpu() -> None:
    say(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    large, small = cases()
    settings = with_overrides(large.settings, {"training.amp": "auto", "teacher.training.amp": "auto"})
    wide = with_overrides(settings, {"training.batch_size": 12, "student.erfnet.width": 1.0})
    quick = with_overrides(small.settings, {"training.amp": "auto", "teacher.training.amp": "auto"})
    for name, of_case in (("(a)", settings), ("(a) 12 at once", wide), (small.name, quick)):
        say(f"{name}: {described(of_case)}")
        with tempfile.TemporaryDirectory() as folder:
            best = gpu_steps(of_case, Storage(folder))
        for kind, seconds in best.items():
            say(f"  {kind:9} {1e3 * seconds:.2f} ms, {seconds / best['plain']:.3f} x plain")


def gpu_steps(settings: StudySettings, storage: Storage, rounds: int = 5, steps: int = 40) -> dict[str, float]:
    """Seconds per step of each kind, the best of several rounds in turn."""
    num_classes = len(open_scenes(settings.scenes, "train").classes)
    teacher = save_teacher(storage, settings, num_classes)
    kinds = {"plain": with_overrides(settings, {"distill.enabled": False})}
    kinds |= {name: with_overrides(settings, {"distill.preset": name}) for name in RECIPES}
    stores = {name: extract(storage, teacher, kinds[name], use_gpu=True)[0] for name in RECIPES}
    trainings, batches = {}, {}
    for name, of_kind in kinds.items():
        job = student_job(storage.uri, 0, f"trials/{name}", 1, of_kind, knowledge=stores.get(name), teacher=teacher)
        trainings[name] = Training(job, use_gpu=True)
        batches[name] = list(trainings[name]._loader)
    best = dict.fromkeys(kinds, float("inf"))
    for turn in range(rounds + 1):
        for name, training in trainings.items():
            torch.cuda.synchronize()
            started = time.perf_counter()
            for step in range(steps):
                training._train_step(batches[name][step % len(batches[name])], 0.5)
            torch.cuda.synchronize()
            best[name] = min(best[name], (time.perf_counter() - started) / steps) if turn else best[name]
    return best


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    say(f"torch {torch.__version__}")
    for case in cases():
        torch.set_num_threads(case.threads)
        say(f"{case.name}: {described(case.settings)}, threads {case.threads}")
        with tempfile.TemporaryDirectory() as folder:
            report(case, measure(case, Path(folder)))
    say("loader alone, CULane frames")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["INTRA_SEARCH_CACHE"] = f"{folder}/cache"
        loader_speed(Path(folder))


if __name__ == "__main__":
    on_gpu() if sys.argv[1:] == ["--gpu"] else main()
