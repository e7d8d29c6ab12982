"""One study from scenes to finished trials: every step looks at what is there, does what is missing, and stops."""

import functools
from collections.abc import Callable
from typing import Protocol

from intra_search.cluster.capacity import Cluster
from intra_search.cluster.client import run_on_head
from intra_search.cluster.connect import connected, on_interrupt
from intra_search.config.study import StudySettings
from intra_search.config.study_file import StudyPlan
from intra_search.errors import CheckpointError, SettingError, StudyError
from intra_search.knowledge.check import check_terms
from intra_search.knowledge.spec import needs_of_space
from intra_search.networks.checkpoint import read_checkpoint_about
from intra_search.networks.released import depth_of, imagenet_state, is_file
from intra_search.scenes.check import check_scenes
from intra_search.scenes.scene_set import SceneSet, open_scenes
from intra_search.search.conductor import Conductor, Event
from intra_search.search.knowledge_choice import knowledge_mode
from intra_search.search.mirrors import OptunaMirror, TensorBoardMirror
from intra_search.search.preparation import (
    Observer,
    check_given_teacher,
    check_released,
    ensure_baselines,
    ensure_knowledge,
    ensure_plain,
    ensure_teacher,
    teacher_is_stored,
)
from intra_search.search.teacher_check import TeacherCheck
from intra_search.store.ledger import HistoryRow, TrialRecord
from intra_search.store.lock import study_lock
from intra_search.store.storage import Storage
from intra_search.store.study_folder import StudyFolder
from intra_search.training.evaluation import official_scorer


class StudyObserver(Observer, Protocol):
    """Is told of everything that happens in a study, after it has reached the disk."""

    def trial_event(self, event: Event, record: TrialRecord, history: list[HistoryRow]) -> None: ...


def run_study(uri: str, plan: StudyPlan, observer: StudyObserver, *, address: str | None, takeover: bool) -> None:
    """Starts, resumes or extends the study at `uri`; the same call does whatever is missing.

    Args:
        plan: settings and space; what they may change of a stored study is `CHANGEABLE`.
        address: Ray cluster to use; None starts one on this machine for this call. With "ray://..." all of this runs
            on the cluster, so `uri` and the scenes must be seen from there.
        takeover: take a study on shared or object storage from a driver that is gone; refused on a local disk.

    Raises `IntraSearchError` before anything is written when settings, scenes or the stored study do not fit.
    """
    if address is not None and address.startswith("ray://"):
        on_head = functools.partial(run_study, Storage(uri).uri, plan, address="auto", takeover=takeover)
        run_on_head(address, on_head, observer)
        return
    settings = plan.settings
    check_terms(plan.space)
    folder = StudyFolder(uri)
    train = _checked_scenes(settings, new_study=not folder.exists, observer=observer)
    fingerprint = train.fingerprint
    dumped = settings.model_dump(mode="json")
    folder.check(dumped, fingerprint)
    _check_init(settings, train, with_teacher=not teacher_is_stored(folder, settings, fingerprint))
    _check_batches(settings, num_scenes=len(train))
    with study_lock(folder.storage, takeover=takeover):
        folder.check(dumped, fingerprint)  # again: another driver may have begun the study since
        generation = folder.begin(dumped, plan.space.tables(), fingerprint)
        observer.note(f"generation {generation} of study {folder.storage.full_path()}")
        leftovers = folder.storage.delete_leftovers()
        if leftovers:
            observer.note(f"removed {leftovers} half-written files or folders that killed processes left")
        search = _Search(folder, plan, generation, fingerprint, observer)
        if search.conductor.exhausted:
            observer.note("nothing is missing: all trials are finished")
            return
        with connected(address, settings.resources) as cluster:
            search.run(cluster)


class _Search:
    """The steps of one driver start, after it holds the study."""

    def __init__(
        self, folder: StudyFolder, plan: StudyPlan, generation: int, fingerprint: str, observer: StudyObserver
    ) -> None:
        self._folder = folder
        self._plan = plan
        self._generation = generation
        self._fingerprint = fingerprint
        self._observer = observer
        self._optuna = OptunaMirror(folder, plan.settings, plan.space)
        self._tensorboard = TensorBoardMirror(folder.storage)
        self._check = TeacherCheck(folder, plan.settings, plan.space, observer.note, self._drain)
        listeners = (self._tensorboard, self._optuna, observer.trial_event, self._check.event)
        self.conductor = Conductor(folder, plan.settings, plan.space, generation, listeners, observer.note)

    def run(self, cluster: Cluster) -> None:
        """Makes what the trials need, then runs them."""
        from intra_search.search.tuner import run_trials

        settings = self._plan.settings
        on_interrupt(self.conductor.drain, self._observer.note)
        observer = _LeavingObserver(self._observer, self._leave_if_interrupted)
        ensure_baselines(self._folder, self._plan, cluster, observer)
        teacher, knowledge = None, None
        needs = needs_of_space(self._plan.space)
        if needs:
            teacher = ensure_teacher(self._folder, settings, self._generation, self._fingerprint, cluster, observer)
            plain = functools.partial(ensure_plain, self._folder, self._plan, self._generation, cluster, self._observer)
            self._check.begin(teacher, self.conductor.records.values(), self.conductor.histories, plain)
            if knowledge_mode(self._folder, self._plan, teacher, needs, cluster, observer) == "stored":
                knowledge = ensure_knowledge(self._folder, settings, teacher, needs, cluster, observer)
        job = {
            "study": self._folder.storage.uri,
            "knowledge": knowledge,
            "teacher": teacher.checkpoint if teacher else "",
        }
        self._optuna.rebuild(self.conductor.records.values(), self.conductor.histories)
        run_trials(self.conductor, settings, job, cluster)
        self._tensorboard.close()
        self._check.finish(self.conductor.records.values())
        if not self._check.has_stopped:
            self._leave_if_interrupted()
        _check_any_success(self._folder, self.conductor)

    def _drain(self) -> None:
        self.conductor.drain()

    def _leave_if_interrupted(self) -> None:
        if self.conductor.draining:
            raise KeyboardInterrupt


class _LeavingObserver:
    """Leaves after the teacher's epoch, or the shard, in which the study was interrupted: it is stored by then."""

    def __init__(self, observer: StudyObserver, leave: Callable[[], None]) -> None:
        self._observer = observer
        self._leave = leave
        self.note = observer.note

    def teacher_epoch(self, row: HistoryRow, epochs: int) -> None:
        self._observer.teacher_epoch(row, epochs)
        self._leave()

    def extracted(self, shards: int, of: int) -> None:
        self._observer.extracted(shards, of)
        self._leave()


def _checked_scenes(settings: StudySettings, *, new_study: bool, observer: StudyObserver) -> SceneSet:
    """Opens `train` and `val` (never `test`), reads once what a new study will read of them, and returns `train`."""
    train = open_scenes(settings.scenes, "train")
    val = open_scenes(settings.scenes, "val")
    classes = len(train.classes)
    observer.note(
        f"{settings.scenes.dataset}: {len(train)} training and {len(val)} validation scenes, {classes} classes"
    )
    if new_study and settings.scenes.dataset != "synthetic":
        check_scenes(train)
        scorer = official_scorer(settings)
        check_scenes(val, also=scorer.check if scorer else None)
    return train


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


def _check_init(settings: StudySettings, train: SceneSet, *, with_teacher: bool) -> None:
    """A start's weights must exist, and a given teacher fit, before a study begins; the teacher's no more once the
    study holds a teacher."""
    given = {"student.init": settings.student.init}
    if with_teacher:
        given |= {"teacher.init": settings.teacher.init, "teacher.checkpoint": settings.teacher.checkpoint}
        if settings.teacher.pretrained is not None:
            imagenet_state(depth_of(settings.teacher.network))
    for setting, uri in given.items():
        if uri is not None and setting == "teacher.checkpoint" and is_file(uri):
            check_released(settings)
        elif uri is not None:
            try:
                about = read_checkpoint_about(Storage(uri), "")
            except CheckpointError as error:
                raise CheckpointError(f"{setting} = {uri}", error.rule, error.found, error.remedy) from None
            if setting == "teacher.checkpoint":
                check_given_teacher(settings, about, [row.name for row in train.classes])


def _check_any_success(folder: StudyFolder, conductor: Conductor) -> None:
    records = conductor.records.values()
    failed = [record for record in records if record.state == "failed"]
    if failed and len(failed) == len(records):
        reason = (failed[-1].reason or "").strip().splitlines()[-1]
        remedy = "see reason in its record.json; correct it and start a new study"
        raise StudyError(folder.storage.full_path(), "must have a trial that does not fail", reason, remedy)
