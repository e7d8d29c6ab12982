"""What trials need before they can run: baselines, a teacher, its knowledge. Each is made once per study."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from torch import nn

from intra_search.cluster.capacity import Cluster
from intra_search.config.fingerprints import teacher_key
from intra_search.config.parsing import with_overrides
from intra_search.config.space import Space
from intra_search.config.study import StudySettings
from intra_search.config.study_file import StudyPlan
from intra_search.distill.loss import active_terms
from intra_search.distill.needs import Need
from intra_search.errors import CheckpointError
from intra_search.networks.build import NetworkRecipe
from intra_search.networks.checkpoint import Checkpoint, save_checkpoint
from intra_search.networks.released import is_file, load_released
from intra_search.scenes.scene_set import open_scenes
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
    """The study's objective on `val`; None when it has no value there."""


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
        return _adopt_teacher(folder, settings, home, cluster, observer)
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


def _adopt_teacher(
    folder: StudyFolder, settings: StudySettings, home: str, cluster: Cluster, observer: Observer
) -> Teacher:
    """Copies a given teacher into the study, so that the study stays whole when the original goes, and scores it here:
    what it scored where it was trained may be of other scenes."""
    from intra_search.training.worker import measure_checkpoint

    uri = str(settings.teacher.checkpoint)
    if is_file(uri):
        path = _import_released(folder, settings, home)
    else:
        bundle = read_bundle(Storage(uri), "")
        classes = [row.name for row in open_scenes(settings.scenes, "train").classes]
        check_given_teacher(settings, bundle.about, classes)
        path = f"{home}/{checkpoint_name(int(bundle.about['epoch']))}"
        write_bundle(folder.storage, path, bundle.files, bundle.about)
    score = measure_checkpoint(folder.storage.uri, path, settings, cpus=cluster.cpus_alone, gpus=cluster.gpus_alone)
    teacher = Teacher(home, path, score)
    record = {"teacher": teacher._asdict(), "history": [], "device_seconds": 0.0, "from": uri}
    folder.storage.write_json(f"{home}/record.json", record)
    observer.note(f"teacher taken from {uri}: {settings.search.objectives[0]} {score_text(score)} on this study's val")
    return teacher


def check_released(settings: StudySettings) -> nn.Module:
    """The teacher with the weights of a torch file of the authors' PSPNet, which `teacher.checkpoint` names.

    Raises `CheckpointError` when the file cannot be read or does not fit the study."""
    network = _released_recipe(settings).build()
    load_released(network, str(settings.teacher.checkpoint))
    return network


def _import_released(folder: StudyFolder, settings: StudySettings, home: str) -> str:
    from intra_search.training.job import teacher_job
    from intra_search.training.loop import checkpoint_about

    scenes = open_scenes(settings.scenes, "train")
    about = checkpoint_about(teacher_job(folder.storage.uri, home, 0, settings), _released_recipe(settings), scenes, [])
    state = check_released(settings).state_dict()
    return save_checkpoint(folder.storage, home, 0, Checkpoint(state, {}, about))


def _released_recipe(settings: StudySettings) -> NetworkRecipe:
    """Without an existence branch, which the authors' ApolloScape teacher has not."""
    num_classes = len(open_scenes(settings.scenes, "train").classes)
    return NetworkRecipe(settings.teacher.network, num_classes, settings.teacher.options.model_dump())


def check_given_teacher(settings: StudySettings, about: dict[str, Any], classes: Sequence[str]) -> None:
    """Raises `CheckpointError` when `teacher.checkpoint` is another network, or was trained on other classes."""
    known = [row["name"] for row in about.get("classes", ())]
    name = about["network"]["name"]
    if known != list(classes) or name != settings.teacher.network:
        rule = f"must be a {settings.teacher.network} with this study's {len(classes)} classes: {', '.join(classes)}"
        found = f"{name} with {len(known)}: {', '.join(known)}"
        where = f"teacher.checkpoint = {settings.teacher.checkpoint}"
        raise CheckpointError(where, rule, found, "train a teacher, or use teacher.init")


class PlainStudent(NamedTuple):
    """The base settings trained without distillation."""

    score: float
    """The study's objective on `val`, at the best epoch."""
    epochs: int


def ensure_plain(
    folder: StudyFolder, plan: StudyPlan, generation: int, cluster: Cluster, observer: Observer
) -> PlainStudent | None:
    """Trains the plain student for a search that holds none; None where a trial will be one, where the file trains one
    student only (a second one would double its cost), or where the student has no score."""
    from intra_search.training.job import TrainingJob
    from intra_search.training.worker import train_alone

    settings, path = plan.settings, "plain/record.json"
    if settings.teacher.allow_weak or settings.search.num_trials == 1 or _may_be_plain(plan.space):
        return None
    if not folder.storage.exists(path):
        observer.note("training the base settings without distillation, since no trial of this space is without")
        plain = with_overrides(settings, {"distill.enabled": False})
        job = TrainingJob(folder.storage.uri, "plain", generation, "student", plain, settings.seed)
        cpus, gpus, epochs = cluster.cpus_alone, cluster.gpus_alone, settings.training.epochs

        def progress(row: HistoryRow) -> None:
            score = score_text(row[settings.search.objectives[0]])
            observer.note(f"plain student epoch {row['epoch']}/{epochs}: {score}, {row['seconds']:.1f} s")

        history = train_alone(job, cpus=cpus, gpus=gpus, progress=progress, note=observer.note)
        seconds = sum(row["seconds"] for row in history)
        folder.storage.write_json(path, {"history": history, "device_seconds": seconds})
    history = folder.storage.read_json(path)["history"]
    scores = [row[settings.search.objectives[0]] for row in history]
    known = [float(score) for score in scores if score is not None]
    return PlainStudent(max(known), len(history)) if known else None


def _may_be_plain(space: Space) -> bool:
    """Whether a trial may be without distillation: by its switch, or as one of the fixed points."""
    if any(not active_terms(space.settings(point).distill) for point in space.points):
        return True
    switch = space.domains.get("distill.enabled")
    return switch is not None and switch.contains(False)


def ensure_knowledge(
    folder: StudyFolder,
    settings: StudySettings,
    teacher: Teacher,
    needs: frozenset[Need],
    cluster: Cluster,
    observer: Observer,
) -> str | None:
    """URI of the stored knowledge, extracted now as far as it is missing; None, and the teacher runs live, when the
    answers would take more room than they may."""
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
    return f"teacher/{teacher_key(settings, fingerprint)}"


def teacher_is_stored(folder: StudyFolder, settings: StudySettings, fingerprint: str) -> bool:
    """Whether the study holds its trained teacher."""
    return folder.storage.exists(f"{teacher_home(settings, fingerprint)}/record.json")
