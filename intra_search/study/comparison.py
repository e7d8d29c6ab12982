"""Whether the teacher is better than the plain student, found without a training made for it.

The plain student is a trial of this very search without distillation: the shipped spaces try one right after the
paper's recipe, so the comparison costs nothing that the search would not have spent. Distilling trials that ran beside
it by then are not lost either: the study goes on from there with `teacher.allow_weak`. The other ways cost more or say
less: a plain student trained first would leave the rest of a cluster idle for a whole training, and a few epochs of one
would compare a teacher with a student that is not done. Only where no trial of a space could be plain is one trained
first, with the base settings (`study.plain_student`).

* A plain trial that reaches the teacher's value of the first objective at any epoch settles it: more epochs only
  raise its best.
* A plain trial trained to the end below the teacher settles it the other way. What is settled stays settled: among
  hundreds of later trials some would pass any teacher by luck.
* A lead below two points is said, with what to do.
* A teacher that does not beat predicting background everywhere is refused before it answers anything.

Both sides are the best epoch on `val`, at one seed: a filter for teachers that learned too little, not a measurement.
"""

from collections.abc import Callable, Iterable, Mapping

from intra_search.config.objectives import Objectives, value_text
from intra_search.config.study_file import StudyPlan
from intra_search.distill.loss import active_terms
from intra_search.errors import SettingError, StudyError
from intra_search.store.artefacts import Comparison, Teacher
from intra_search.store.events import Event, Note, Tell, TrialEnded, TrialReported
from intra_search.store.ledger import HistoryRow, TrialRecord
from intra_search.store.study_folder import StudyFolder
from intra_search.store.trial_state import TrialState
from intra_search.study.plain_student import PlainStudent

SMALL_LEAD = 0.02
"""Two points of the first objective. A student gains a part of the lead at most, and seeds differ by half as much."""
BETTER_TEACHER = (
    "train the teacher longer, on more scenes or wider, or start it from teacher.pretrained or teacher.init"
)


class TeacherComparison:
    """Compares one teacher with the plain trials as it is told of their reports; one per teacher and driver start.

    `name`: the teacher's checkpoint where the study has several."""

    def __init__(
        self, folder: StudyFolder, plan: StudyPlan, tell: Tell, drain: Callable[[], None], name: str | None = None
    ) -> None:
        self._folder = folder
        self._lead = Objectives.of(plan.settings).lead
        self._allowed = plan.settings.teacher.allow_weak
        self._num_trials = plan.settings.search.num_trials
        self._space = plan.space
        self._tell = tell
        self._drain = drain
        self._who = "the teacher" if name is None else f"the teacher {name}"
        self._teacher: Teacher | None = None
        self._weak: str | None = None
        """Text: what the teacher does not beat; None while it beats everything."""
        self._settled = False
        self._plain: dict[int, bool] = {}

    def begin(
        self,
        teacher: Teacher,
        records: Iterable[TrialRecord],
        histories: Mapping[int, list[HistoryRow]],
        plain: Callable[[], PlainStudent | None],
    ) -> None:
        """Takes the stored comparison; else calls `plain`, which may train a plain student for it.

        Raises `StudyError` when the teacher is known to be weak and is not allowed."""
        self._teacher = teacher
        background = self._folder.baselines.read().background
        if background is not None and not self._beats(background):
            self._find_weak(f"{value_text(background)} of predicting background only")
        stored = self._folder.comparison(teacher.folder).find()
        if stored is not None:
            self._settled = True
            if self._weak is None and not stored.better:
                self._find_weak(_student_text(stored.trial, stored.epochs, stored.plain))
        elif not self.has_stopped and (student := plain()) is not None:
            self._settle(None, student.epochs, student.score)
        for record in sorted(records, key=lambda record: record.trial):
            self._compare(record, histories[record.trial])
        self.raise_if_weak(left=True)

    def __call__(self, event: Event) -> None:
        """Listens to the trials; drains the search when the teacher turns out weak."""
        if isinstance(event, TrialReported | TrialEnded):
            self._compare(event.record, event.history)

    @property
    def has_stopped(self) -> bool:
        """Whether the search was drained for a weak teacher."""
        return self._weak is not None and not self._allowed

    def raise_if_weak(self, *, left: bool) -> None:
        """Raises `StudyError` for a weak teacher that is not allowed, when there are trials `left` to stop."""
        if self._teacher is None or not self.has_stopped or not left:
            return
        found = f"{self._lead.text(self._teacher.score)} beside {self._weak}"
        rule = f"{self._who} must be better than the plain student"
        remedy = "start a new study with a better teacher, or go on with --set teacher.allow_weak=true"
        raise StudyError(self._folder.storage.full_path(self._teacher.folder), rule, found, remedy)

    def finish(self, records: Iterable[TrialRecord]) -> None:
        """Ends a search: stops it with `StudyError` for a weak teacher, or says what the comparison is worth."""
        found = list(records)
        left = len(found) < self._num_trials or any(record.state.is_live for record in found)
        self.raise_if_weak(left=left)
        if self._teacher is not None and not self._settled and not left:
            text = "no trial without distillation was trained to the end, so none was compared with"
            self._tell(Note(f"{text} {self._who} ({self._lead.text(self._teacher.score)})"))

    def _beats(self, value: float) -> bool:
        assert self._teacher is not None
        return self._teacher.score is not None and self._lead.better(self._teacher.score, value)

    def _compare(self, record: TrialRecord, history: list[HistoryRow]) -> None:
        if self._teacher is None or self._settled or not history or not self._is_plain(record):
            return
        best = self._lead.best(value for row in history if (value := self._lead.value(row)) is not None)
        if best is not None and (not self._beats(best) or record.state is TrialState.DONE):
            self._settle(record.trial, len(history), best)

    def _settle(self, trial: int | None, epochs: int, plain: float) -> None:
        assert self._teacher is not None
        self._settled = True
        better = self._beats(plain)
        comparison = Comparison(teacher=self._teacher.score, plain=plain, trial=trial, epochs=epochs, better=better)
        self._folder.comparison(self._teacher.folder).write(comparison)
        text = _student_text(trial, epochs, plain)
        if better:
            score = self._lead.text(self._teacher.score)
            self._tell(Note(f"{self._who} is better than the plain student: {score} beside {text}"))
            self._say_if_small(self._lead.gain(self._teacher.score or 0.0) - self._lead.gain(plain))
        else:
            self._find_weak(text)

    def _say_if_small(self, lead: float) -> None:
        if lead < SMALL_LEAD:
            text = f"{self._who} has a small lead, {lead:+.4f}, so expect little of distillation: {BETTER_TEACHER}"
            self._tell(Note(text))

    def _find_weak(self, beside: str) -> None:
        assert self._teacher is not None
        self._weak = beside
        end = "going on, as teacher.allow_weak says" if self._allowed else "stopping"
        score = self._lead.text(self._teacher.score)
        self._tell(Note(f"{self._who} is not better than the plain student: {score} beside {beside}; {end}"))
        if not self._allowed:
            self._drain()

    def _is_plain(self, record: TrialRecord) -> bool:
        if record.trial not in self._plain:
            try:
                self._plain[record.trial] = not active_terms(self._space.settings(record.point).distill)
            except SettingError:  # it makes no settings any more
                self._plain[record.trial] = False
        return self._plain[record.trial]


def _student_text(trial: int | None, epochs: int, value: float) -> str:
    whose = "the base settings" if trial is None else f"trial {trial}"
    return f"{value_text(value)} of {whose} without distillation after {epochs} epochs"
