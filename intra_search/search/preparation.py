"""What trials need before they can run: baselines, a teacher, its knowledge. Each is made once per study."""

import hashlib
import json
from typing import NamedTuple, Protocol

from intra_search.config.settings import StudySettings
from intra_search.config.study_file import StudyPlan
from intra_search.distill.needs import Need
from intra_search.errors import CheckpointError
from intra_search.scenes.scene_set import open_scenes
from intra_search.search.cluster import Cluster
from intra_search.store.bundle import read_bundle, write_bundle
from intra_search.store.ledger import HistoryRow, best_epoch, checkpoint_name, find_checkpoint, score_text
from intra_search.store.storage import Storage
from intra_search.store.study_folder import KNOWLEDGE_RECORD, StudyFolder


class Observer(Protocol):
    """Is told of each step, after it has reached the disk."""

    def note(self, text: str) -> None:
        """A decision or a step, in one line."""

    def teacher_epoch(self, row: HistoryRow, epochs: int) -> None: ...

    def extracted(self, shards: int, of: int) -> None: ...


class Teacher(NamedTuple):
    """A study's trained teacher."""

    folder: str
    checkpoint: str
    score: float | None
    """The study's objective; None for a given teacher that was never scored by it."""


def ensure_baselines(folder: StudyFolder, plan: StudyPlan, cluster: Cluster, observer: Observer) -> None:
    """Stores what a trained student must beat."""
    from intra_search.training.worker import measure_baselines

    if not folder.storage.exists("baselines.json"):
        first = plan.space.settings(plan.space.points[0])
        measured = measure_baselines(first, cpus=cluster.cpus_alone, gpus=cluster.gpus_alone)
        folder.storage.write_json("baselines.json", measured._asdict())
        background, untrained = score_text(measured.background), score_text(measured.untrained)
        metric = plan.settings.search.objectives[0]
        observer.note(f"{metric} {background} for background only, {untrained} untrained")


def ensure_teacher(
    folder: StudyFolder,
    settings: StudySettings,
    generation: int,
    fingerprint: str,
    cluster: Cluster,
    observer: Observer,
) -> Teacher:
    """The study's teacher: stored, given, or trained now."""
    from intra_search.training.job import teacher_job
    from intra_search.training.worker import train_alone

    home = teacher_home(settings, fingerprint)
    if folder.storage.exists(f"{home}/record.json"):
        return Teacher(**folder.storage.read_json(f"{home}/record.json")["teacher"])
    if settings.teacher.checkpoint is not None:
        return _adopt_teacher(folder, settings, home, observer)
    epochs = settings.teacher.training.epochs
    observer.note(f"training the teacher {settings.teacher.network} for {epochs} epochs")
    job = teacher_job(folder.storage.uri, home, generation, settings)
    history = train_alone(
        job,
        cpus=cluster.cpus_alone,
        gpus=cluster.gpus_alone,
        progress=lambda row: observer.teacher_epoch(row, epochs),
        note=observer.note,
    )
    metric = settings.search.objectives[0]
    best = best_epoch(history, metric)
    checkpoint = find_checkpoint(folder.storage, home, best)
    if checkpoint is None:
        found, remedy = f"no checkpoint of epoch {best}", "delete the folder and run again"
        raise CheckpointError(folder.storage.full_path(home), "must hold the teacher's best epoch", found, remedy)
    teacher = Teacher(home, checkpoint, history[best - 1][metric])
    seconds = sum(row["seconds"] for row in history)
    record = {"teacher": teacher._asdict(), "history": history, "device_seconds": seconds}
    folder.storage.write_json(f"{home}/record.json", record)
    return teacher


def _adopt_teacher(folder: StudyFolder, settings: StudySettings, home: str, observer: Observer) -> Teacher:
    """Copies a given teacher into the study, so that the study stays whole when the original goes."""
    uri = str(settings.teacher.checkpoint)
    bundle = read_bundle(Storage(uri), "")
    known = tuple(row["name"] for row in bundle.about.get("classes", ()))
    wanted = tuple(row.name for row in open_scenes(settings.scenes, "train").classes)
    name = bundle.about["network"]["name"]
    if known != wanted or name != settings.teacher.network:
        found = f"{name} with {len(known)} classes"
        rule = f"must be a {settings.teacher.network} with this study's {len(wanted)} classes"
        raise CheckpointError(f"teacher.checkpoint = {uri}", rule, found, "train a teacher, or use teacher.init")
    path = f"{home}/{checkpoint_name(int(bundle.about['epoch']))}"
    write_bundle(folder.storage, path, bundle.files, bundle.about)
    metric = settings.search.objectives[0]
    known_scores = [row[metric] for row in bundle.about["history"] if row.get(metric) is not None]
    teacher = Teacher(home, path, max(known_scores, default=None))
    record = {"teacher": teacher._asdict(), "history": bundle.about["history"], "device_seconds": 0.0, "from": uri}
    folder.storage.write_json(f"{home}/record.json", record)
    observer.note(f"teacher taken from {uri} ({metric} {score_text(teacher.score)} where it was trained)")
    return teacher


def ensure_knowledge(
    folder: StudyFolder,
    settings: StudySettings,
    teacher: Teacher,
    needs: frozenset[Need],
    cluster: Cluster,
    observer: Observer,
) -> str | None:
    """URI of the stored knowledge, extracted now as far as it is missing; None when the teacher runs live."""
    if settings.knowledge.mode == "live":
        observer.note("the teacher runs live in every step (knowledge.mode = live)")
        return None
    return _stored_knowledge(folder, settings, teacher, needs, cluster, observer)


def _stored_knowledge(
    folder: StudyFolder,
    settings: StudySettings,
    teacher: Teacher,
    needs: frozenset[Need],
    cluster: Cluster,
    observer: Observer,
) -> str | None:
    """None when the answers would take more room than they may."""
    from intra_search.knowledge.estimate import excess
    from intra_search.knowledge.extraction import extract

    scenes = open_scenes(settings.scenes, "train")
    home = Storage(settings.knowledge.store) if settings.knowledge.store else folder.storage
    sizes = {"num_classes": len(scenes.classes), "num_scenes": len(scenes)}
    too_large = excess(settings, needs, **sizes, is_local=home.is_local)
    if too_large is not None:
        observer.note(f"the teacher runs live in every step: {too_large}")
        return None
    known = folder.storage.exists(KNOWLEDGE_RECORD)
    spent = float(folder.storage.read_json(KNOWLEDGE_RECORD)["device_seconds"]) if known else 0.0

    def stored(shards: int, of: int, seconds: float) -> None:
        nonlocal spent
        spent += seconds
        folder.storage.write_json(KNOWLEDGE_RECORD, {"device_seconds": spent})
        observer.extracted(shards, of)

    return extract(
        folder.storage,
        teacher.checkpoint,
        settings,
        needs,
        cpus=cluster.cpus_alone,
        gpus=cluster.gpus_alone,
        progress=stored,
    )


def teacher_home(settings: StudySettings, fingerprint: str) -> str:
    """Folder of the teacher that these settings and scenes lead to."""
    scenes = settings.scenes.model_dump(mode="json", exclude={"root", "cache"})
    parts = [settings.seed, settings.teacher.model_dump(mode="json"), scenes, fingerprint]
    return f"teacher/{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]}"


def teacher_is_stored(folder: StudyFolder, settings: StudySettings, fingerprint: str) -> bool:
    """Whether the study holds its trained teacher."""
    return folder.storage.exists(f"{teacher_home(settings, fingerprint)}/record.json")
