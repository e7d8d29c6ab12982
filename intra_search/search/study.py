"""One study from scenes to finished trials: every step looks at what is there, does what is missing, and stops."""

import functools
import hashlib
import json
import logging
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from intra_search.config.settings import StudySettings
from intra_search.config.study_file import StudyPlan
from intra_search.errors import CheckpointError, SettingError, StudyError
from intra_search.knowledge.spec import needs_of_space
from intra_search.networks.checkpoint import read_checkpoint_about
from intra_search.scenes.check import check_scenes
from intra_search.scenes.scene_set import open_scenes
from intra_search.search.cluster import Cluster, connected, run_on_head
from intra_search.search.conductor import Conductor, Event
from intra_search.search.mirrors import OptunaMirror, TensorBoardMirror
from intra_search.store.ledger import HistoryRow, TrialRecord, checkpoint_name
from intra_search.store.lock import study_lock
from intra_search.store.storage import Storage
from intra_search.store.study_folder import StudyFolder

logger = logging.getLogger(__name__)


class Observer(Protocol):
    """Is told of everything that happens in a study, after it has reached the disk."""

    def note(self, text: str) -> None:
        """A decision or a step, in one line."""

    def teacher_epoch(self, row: HistoryRow, epochs: int) -> None: ...

    def extracted(self, shards: int, of: int) -> None: ...

    def trial_event(self, event: Event, record: TrialRecord, history: list[HistoryRow]) -> None: ...


class Teacher(NamedTuple):
    """A study's trained teacher."""

    folder: str
    checkpoint: str
    miou: float


def run_study(uri: str, plan: StudyPlan, observer: Observer, *, address: str | None, takeover: bool) -> None:
    """Starts, resumes or extends the study at `uri`; the same call does whatever is missing.

    Args:
        plan: settings and space; what they may change of a stored study is `CHANGEABLE`.
        address: Ray cluster to use; None starts one on this machine for this call. With "ray://..." all of this runs
            on the cluster, so `uri` and the scenes must be seen from there.
        takeover: take a study on object storage from a driver that is gone.

    Raises `IntraSearchError` before anything is written when settings, scenes or the stored study do not fit.
    """
    if address is not None and address.startswith("ray://"):
        on_head = functools.partial(run_study, Storage(uri).uri, plan, address="auto", takeover=takeover)
        run_on_head(address, on_head, observer)
        return
    settings = plan.settings
    folder = StudyFolder(uri)
    fingerprint = _checked_scenes(settings, new_study=not folder.exists, observer=observer)
    dumped = settings.model_dump(mode="json")
    folder.check(dumped, fingerprint)
    _check_init(settings, teacher_is_stored=_teacher_stored(folder, settings, fingerprint))
    _check_batches(settings, num_scenes=len(open_scenes(settings.scenes, "train")))
    with study_lock(folder.storage, takeover=takeover):
        folder.check(dumped, fingerprint)  # again: another driver may have begun the study since
        generation = folder.begin(dumped, plan.space.tables(), fingerprint)
        observer.note(f"generation {generation} of study {folder.storage.full_path()}")
        search = _Search(folder, plan, generation, fingerprint, observer)
        if search.conductor.exhausted:
            observer.note("nothing is missing: all trials are finished")
            return
        with connected(address, settings.resources) as cluster:
            search.run(cluster)


class _Search:
    """The steps of one driver start, after it holds the study."""

    def __init__(
        self, folder: StudyFolder, plan: StudyPlan, generation: int, fingerprint: str, observer: Observer
    ) -> None:
        self._folder = folder
        self._plan = plan
        self._generation = generation
        self._fingerprint = fingerprint
        self._observer = observer
        self._optuna = OptunaMirror(folder, plan.settings, plan.space)
        self._tensorboard = TensorBoardMirror(folder.storage)
        listeners = (self._tensorboard, self._optuna, observer.trial_event)
        self.conductor = Conductor(folder, plan.settings, plan.space, generation, listeners, observer.note)

    def run(self, cluster: Cluster) -> None:
        """Makes what the trials need, then runs them."""
        from intra_search.search.tuner import run_trials

        settings = self._plan.settings
        cluster.on_interrupt(self.conductor.drain, self._observer.note)
        observer = _LeavingObserver(self._observer, self._leave_if_interrupted)
        _ensure_baselines(self._folder, self._plan, cluster, observer)
        teacher, knowledge = None, None
        needs = needs_of_space(self._plan.space)
        if needs:
            teacher = _ensure_teacher(self._folder, settings, self._generation, self._fingerprint, cluster, observer)
            knowledge = _ensure_knowledge(self._folder, settings, teacher, needs, cluster, observer)
        job = {
            "study": self._folder.storage.uri,
            "knowledge": knowledge,
            "teacher": teacher.checkpoint if teacher else "",
        }
        self._optuna.rebuild(self.conductor.records.values(), self.conductor.histories)
        run_trials(self.conductor, settings.resources, job, cluster.max_concurrent(settings))
        self._tensorboard.close()
        self._leave_if_interrupted()
        _check_any_success(self._folder, self.conductor)

    def _leave_if_interrupted(self) -> None:
        if self.conductor.draining:
            raise KeyboardInterrupt


class _LeavingObserver:
    """Leaves after the teacher's epoch, or the shard, in which the study was interrupted: it is stored by then."""

    def __init__(self, observer: Observer, leave: Callable[[], None]) -> None:
        self._observer = observer
        self._leave = leave
        self.note = observer.note
        self.trial_event = observer.trial_event

    def teacher_epoch(self, row: HistoryRow, epochs: int) -> None:
        self._observer.teacher_epoch(row, epochs)
        self._leave()

    def extracted(self, shards: int, of: int) -> None:
        self._observer.extracted(shards, of)
        self._leave()


def _checked_scenes(settings: StudySettings, *, new_study: bool, observer: Observer) -> str:
    """Opens `train` and `val` (never `test`), decodes them once for a new study, and returns the data set's hash."""
    train = open_scenes(settings.scenes, "train")
    val = open_scenes(settings.scenes, "val")
    classes = len(train.classes)
    observer.note(
        f"{settings.scenes.dataset}: {len(train)} training and {len(val)} validation scenes, {classes} classes"
    )
    if new_study and settings.scenes.dataset != "synthetic":
        for scenes in (train, val):
            check_scenes(scenes)
    return train.fingerprint


def _check_batches(settings: StudySettings, num_scenes: int) -> None:
    """Batches that could not be dealt would fail every training, after the study has begun."""
    sizes = {"training": settings.training.batch_size, "teacher.training": settings.teacher.training.batch_size}
    for group, size in sizes.items():
        if size > num_scenes:
            found = f"{size} with {num_scenes} training scenes"
            raise SettingError(f"{group}.batch_size", "must not exceed the training scenes", found, "lower it")
    if settings.training.batch_size < settings.resources.workers:
        found = f"{settings.training.batch_size} with {settings.resources.workers} workers"
        raise SettingError("training.batch_size", "must give every worker a sample", found, "raise it")


def _teacher_stored(folder: StudyFolder, settings: StudySettings, fingerprint: str) -> bool:
    return folder.storage.exists(f"teacher/{_teacher_hash(settings, fingerprint)}/record.json")


def _check_init(settings: StudySettings, *, teacher_is_stored: bool) -> None:
    """A start checkpoint must exist before a study begins; the teacher's no more once the study holds a teacher."""
    given = {"student.init": settings.student.init}
    if not teacher_is_stored:
        given |= {"teacher.init": settings.teacher.init, "teacher.checkpoint": settings.teacher.checkpoint}
    for setting, uri in given.items():
        if uri is not None:
            try:
                read_checkpoint_about(Storage(uri), "")
            except CheckpointError as error:
                raise CheckpointError(f"{setting} = {uri}", error.rule, error.found, error.remedy) from None


def _ensure_baselines(folder: StudyFolder, plan: StudyPlan, cluster: Cluster, observer: Observer) -> None:
    from intra_search.training.worker import measure_baselines

    if not folder.storage.exists("baselines.json"):
        first = plan.space.settings(plan.space.points[0])
        measured = measure_baselines(first, cpus=cluster.cpus_alone, gpus=cluster.gpus_alone)
        folder.storage.write_json("baselines.json", measured._asdict())
        observer.note(f"val/miou {measured.background:.4f} for background only, {measured.untrained:.4f} untrained")


def _ensure_teacher(
    folder: StudyFolder,
    settings: StudySettings,
    generation: int,
    fingerprint: str,
    cluster: Cluster,
    observer: Observer,
) -> Teacher:
    from intra_search.training.job import teacher_job
    from intra_search.training.worker import train_alone

    home = f"teacher/{_teacher_hash(settings, fingerprint)}"
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
    best = max(history, key=lambda row: row["val/miou"])
    teacher = Teacher(home, _checkpoint_of(folder.storage, home, int(best["epoch"])), float(best["val/miou"]))
    seconds = sum(row["seconds"] for row in history)
    record = {"teacher": teacher._asdict(), "history": history, "device_seconds": seconds}
    folder.storage.write_json(f"{home}/record.json", record)
    return teacher


def _adopt_teacher(folder: StudyFolder, settings: StudySettings, home: str, observer: Observer) -> Teacher:
    """Copies a given teacher into the study, so that the study stays whole when the original goes."""
    from intra_search.store.bundle import read_bundle, write_bundle

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
    miou = max(float(row["val/miou"]) for row in bundle.about["history"])
    teacher = Teacher(home, path, miou)
    record = {"teacher": teacher._asdict(), "history": bundle.about["history"], "device_seconds": 0.0, "from": uri}
    folder.storage.write_json(f"{home}/record.json", record)
    observer.note(f"teacher taken from {uri} (val/miou {miou:.4f} where it was trained)")
    return teacher


def _ensure_knowledge(
    folder: StudyFolder,
    settings: StudySettings,
    teacher: Teacher,
    needs: frozenset[Any],
    cluster: Cluster,
    observer: Observer,
) -> str | None:
    from intra_search.knowledge.extraction import extract

    if settings.knowledge.mode == "live":
        observer.note("the teacher runs live in every step (knowledge.mode = live)")
        return None
    return extract(
        folder.storage,
        teacher.checkpoint,
        settings,
        needs,
        cpus=cluster.cpus_alone,
        gpus=cluster.gpus_alone,
        progress=observer.extracted,
    )


def _teacher_hash(settings: StudySettings, fingerprint: str) -> str:
    scenes = settings.scenes.model_dump(mode="json", exclude={"root", "cache"})
    parts = [settings.seed, settings.teacher.model_dump(mode="json"), scenes, fingerprint]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _checkpoint_of(storage: Storage, home: str, epoch: int) -> str:
    generations = sorted((name for name in storage.names(home) if name.startswith("gen-")), reverse=True)
    for generation in generations:
        path = f"{home}/{generation}/{checkpoint_name(epoch)}"
        if storage.exists(path):
            return path
    raise CheckpointError(
        storage.full_path(home), f"must hold epoch {epoch}", "none", "delete the folder and run again"
    )


def _check_any_success(folder: StudyFolder, conductor: Conductor) -> None:
    records = conductor.records.values()
    failed = [record for record in records if record.state == "failed"]
    if failed and len(failed) == len(records):
        reason = (failed[-1].reason or "").strip().splitlines()[-1]
        remedy = "see reason in its record.json; correct it and start a new study"
        raise StudyError(folder.storage.full_path(), "must have a trial that does not fail", reason, remedy)
