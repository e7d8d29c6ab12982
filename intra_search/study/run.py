"""One study from scenes to finished trials: every step looks at what is there, does what is missing, and stops."""

import functools
from dataclasses import replace

from intra_search.config.study_file import StudyPlan
from intra_search.errors import StudyError
from intra_search.knowledge.check import check_terms
from intra_search.search.conductor import Conductor
from intra_search.store.events import (
    Event,
    Note,
    PlainStudentEpoch,
    ShardStored,
    TeacherEpoch,
    Tell,
    TwinEpoch,
    tell_all,
)
from intra_search.store.lock import study_lock
from intra_search.store.storage import Storage
from intra_search.store.study_folder import StudyFolder
from intra_search.store.trial_state import TrialState
from intra_search.study import baselines, knowledge, knowledge_mode, plain_student, search, teacher, twin
from intra_search.study.checks import (
    check_batches,
    check_init,
    check_machine,
    check_schedules,
    check_single_images,
    checked_scenes,
)
from intra_search.study.comparison import TeacherComparison
from intra_search.study.context import StudyContext
from intra_search.study.mirrors.table import MIRRORS


def run_study(uri: str, plan: StudyPlan, tell: Tell, *, address: str | None, takeover: bool) -> None:
    """Starts, resumes or extends the study at `uri`; the same call does whatever is missing.

    Args:
        plan: settings and space.
        tell: told of everything that happens, after it has reached the disk.
        address: Ray cluster to use; None starts one on this machine for this call. With "ray://..." all of this runs
            on the cluster, so `uri` and the scenes must be seen from there.
        takeover: take a study on shared or object storage from a driver that is gone; refused on a local disk.

    Raises `IntraSearchError` before anything is written when settings, scenes or the stored study do not fit.
    """
    if address is not None and address.startswith("ray://"):
        from intra_search.cluster.client import run_on_head

        on_head = functools.partial(run_study, Storage(uri).uri, plan, address="auto", takeover=takeover)
        run_on_head(address, on_head, tell)
        return
    folder = StudyFolder(uri)
    plan = plan.with_defaults(folder.defaults)
    settings = plan.settings
    check_terms(plan.space)
    check_single_images(plan.space)
    train, trained_on = checked_scenes(settings, new_study=not folder.exists, tell=tell)
    fingerprint = train.fingerprint
    dumped = settings.model_dump(mode="json")
    folder.check(dumped, trained_on)
    for own in teacher.plans(plan).values():
        check_init(own.settings, train, with_teacher=not teacher.is_stored(folder, own.settings, fingerprint))
    check_batches(settings, num_scenes=len(train))
    check_schedules(plan.space, num_scenes=len(train))
    if address is None:
        check_machine(settings)
    with study_lock(folder.storage, takeover=takeover):
        folder.check(dumped, trained_on)  # again: another driver may have begun the study since
        generation = folder.begin(dumped, plan.space.tables(), trained_on)
        tell(Note(f"generation {generation} of study {folder.storage.full_path()}"))
        leftovers = folder.storage.delete_leftovers()
        if leftovers:
            tell(Note(f"removed {leftovers} half-written files or folders that killed processes left"))
        _Driver(folder, plan, generation, fingerprint, tell).run(address)


class _Driver:
    """One driver start, after it holds the study."""

    def __init__(self, folder: StudyFolder, plan: StudyPlan, generation: int, fingerprint: str, tell: Tell) -> None:
        self._folder = folder
        self._plan = plan
        self._generation = generation
        self._fingerprint = fingerprint
        self._mirrors = [mirror(folder, plan) for mirror in MIRRORS]
        self._comparisons: dict[str | None, TeacherComparison] = {}
        self._tell = tell_all(*self._mirrors, tell, self._compare, self._leave_where_stored)
        self._conductor = Conductor(folder, plan.settings, plan.space, generation, self._tell)
        self._teachers = teacher.plans(plan, self._conductor.records.values())
        for name in self._teachers:
            told = name if len(self._teachers) > 1 else None
            self._comparisons[name] = TeacherComparison(folder, plan, tell, self._conductor.drain, told)

    def run(self, address: str | None) -> None:
        """Connects to the cluster, if anything is missing, and makes it."""
        if self._conductor.exhausted and not twin.is_missing(self._folder, self._plan):
            self._tell(Note("nothing is missing: all trials are finished"))
            return
        from intra_search.cluster.connect import connected
        from intra_search.cluster.interrupts import leaving_once_stored

        with (
            connected(address, self._plan.settings.resources) as cluster,
            leaving_once_stored(self._conductor.drain, lambda text: self._tell(Note(text))),
        ):
            context = StudyContext(self._folder, self._plan, self._generation, self._fingerprint, cluster, self._tell)
            if not self._conductor.exhausted:
                self._run_steps(context)
            twin.ensure(context)

    def _run_steps(self, context: StudyContext) -> None:
        """The steps of a study, in order."""
        baselines.ensure(context)
        taught = self._taught(context) if context.asks_teacher else {}
        for mirror in self._mirrors:
            mirror.begin(self._conductor.records.values(), self._conductor.histories)
        search.ensure(context, self._conductor, taught)
        for mirror in self._mirrors:
            mirror.close()
        for comparison in self._comparisons.values():
            comparison.finish(self._conductor.records.values())
        if not any(comparison.has_stopped for comparison in self._comparisons.values()):
            self._leave_if_interrupted()
        self._check_any_success()

    def _taught(self, context: StudyContext) -> dict[str | None, search.Taught]:
        """Every teacher, compared with the plain student, and its stored answers."""
        contexts = {name: replace(context, plan=plan) for name, plan in self._teachers.items()}
        teachers = {name: teacher.ensure(own) for name, own in contexts.items()}
        plain = functools.partial(plain_student.ensure, context)
        for name, comparison in self._comparisons.items():
            comparison.begin(teachers[name], self._conductor.records.values(), self._conductor.histories, plain)
        # Of one network, all take the same time.
        is_stored = knowledge_mode.ensure(context, next(iter(teachers.values()))) == "stored"
        return {
            name: search.Taught(found, knowledge.ensure(contexts[name], found) if is_stored else None)
            for name, found in teachers.items()
        }

    def _compare(self, event: Event) -> None:
        for comparison in self._comparisons.values():
            comparison(event)

    def _leave_where_stored(self, event: Event) -> None:
        """Leaves after the epoch, or the shard, in which the study was interrupted: it is stored by then."""
        if isinstance(event, TeacherEpoch | PlainStudentEpoch | ShardStored | TwinEpoch):
            self._leave_if_interrupted()

    def _leave_if_interrupted(self) -> None:
        if self._conductor.draining:
            raise KeyboardInterrupt

    def _check_any_success(self) -> None:
        records = self._conductor.records.values()
        failed = [record for record in records if record.state is TrialState.FAILED]
        if failed and len(failed) == len(records):
            reason = (failed[-1].reason or "unknown").strip().splitlines()[-1]
            remedy = "see reason in its record.json; correct it and start a new study"
            where = self._folder.storage.full_path()
            raise StudyError(where, "must have a trial that does not fail", reason, remedy)
