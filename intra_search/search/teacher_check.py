"""Whether the teacher is worth its place: its score beside the plain student's, found without a training of its own.

The plain student is a trial of this very search without distillation: the shipped spaces try one right after the
paper's recipe, so the comparison costs nothing that the search would not have spent. Distilling trials that ran beside
it by then are not lost either: the study goes on from there with `teacher.allow_weak`. The other ways cost more or say
less: a plain student trained first would leave the rest of a cluster idle for a whole training, and a few epochs of one
would compare a teacher with a student that is not done. Only where no trial of a space could be plain is one trained
first, with the base settings (`ensure_plain`).

* A plain trial that reaches the teacher's value of the study's objective at any epoch settles it: more epochs only
  raise its best.
* A plain trial trained to the end below the teacher settles it the other way. What is settled stays settled: among
  hundreds of later trials some would pass any teacher by luck.
* A teacher that does not beat predicting background everywhere is refused before it answers anything.

Both sides are the best epoch on `val`, at one seed: a filter for teachers that learned too little, not a measurement.
"""

import math
from collections.abc import Callable, Iterable, Mapping

from intra_search.config.space import Space
from intra_search.config.study import StudySettings
from intra_search.distill.loss import active_terms
from intra_search.errors import StudyError
from intra_search.search.halving import best_until
from intra_search.search.preparation import PlainStudent, Teacher
from intra_search.store.ledger import LIVE, HistoryRow, TrialRecord, score_text
from intra_search.store.study_folder import StudyFolder

FILE = "comparison.json"


class TeacherCheck:
    """Compares the teacher with the plain trials as their reports come in; one per driver start."""

    def __init__(
        self,
        folder: StudyFolder,
        settings: StudySettings,
        space: Space,
        note: Callable[[str], None],
        drain: Callable[[], None],
    ) -> None:
        self._folder = folder
        self._metric = settings.search.objectives[0]
        self._allowed = settings.teacher.allow_weak
        self._num_trials = settings.search.num_trials
        self._space = space
        self._note = note
        self._drain = drain
        self._teacher: Teacher | None = None
        self._score = -math.inf
        self._weak: str | None = None
        self._settled = False
        self._plain: dict[int, bool] = {}

    def begin(
        self,
        teacher: Teacher,
        records: Iterable[TrialRecord],
        histories: Mapping[int, list[HistoryRow]],
        plain: Callable[[], PlainStudent | None],
    ) -> None:
        """Starts with what is stored; else `plain` may train a student for it, where no trial will do.

        Raises `StudyError` when the teacher is known to be weak and is not allowed."""
        self._teacher = teacher
        self._score = -math.inf if teacher.score is None else teacher.score
        storage = self._folder.storage
        background = storage.read_json("baselines.json")["background"]
        if background is not None and not self._score > background:
            self._find_weak(f"{score_text(background)} of predicting background only")
        if storage.exists(f"{teacher.folder}/{FILE}"):
            stored = storage.read_json(f"{teacher.folder}/{FILE}")
            self._settled = True
            if self._weak is None and not stored["better"]:
                self._find_weak(_plain_text(stored["trial"], stored["epochs"], stored["plain"]))
        elif not self.has_stopped and (student := plain()) is not None:
            self._settle(None, student.epochs, student.score)
        for record in sorted(records, key=lambda record: record.trial):
            self._compare(record, histories[record.trial])
        self.raise_if_weak(left=True)

    def event(self, event: str, record: TrialRecord, history: list[HistoryRow]) -> None:
        """Takes a trial's event, after it has reached the ledger; drains the search when the teacher turns out weak."""
        if event in ("reported", "recorded"):
            self._compare(record, history)

    @property
    def has_stopped(self) -> bool:
        """Whether the search was drained for a weak teacher."""
        return self._weak is not None and not self._allowed

    def raise_if_weak(self, *, left: bool) -> None:
        """Raises `StudyError` for a weak teacher that is not allowed, when there are trials `left` to stop."""
        if self._teacher is None or not self.has_stopped or not left:
            return
        found = f"{self._metric} {score_text(self._score)} beside {self._weak}"
        rule = "the teacher must be better than the plain student"
        remedy = "start a new study with a better teacher, or go on with --set teacher.allow_weak=true"
        raise StudyError(self._folder.storage.full_path(self._teacher.folder), rule, found, remedy)

    def finish(self, records: Iterable[TrialRecord]) -> None:
        """Ends a search: stops it with `StudyError` for a weak teacher, or says what the comparison is worth."""
        found = list(records)
        left = len(found) < self._num_trials or any(record.state in LIVE for record in found)
        self.raise_if_weak(left=left)
        if self._teacher is not None and not self._settled and not left:
            text = "no trial without distillation was trained to the end, so none was compared with the teacher"
            self._note(f"{text} ({self._metric} {score_text(self._score)})")

    def _compare(self, record: TrialRecord, history: list[HistoryRow]) -> None:
        if self._teacher is None or self._settled or not history or not self._is_plain(record):
            return
        best = best_until(history, len(history), self._metric)
        better = self._score > best
        if math.isfinite(best) and (not better or record.state == "done"):
            self._settle(record.trial, len(history), best)

    def _settle(self, trial: int | None, epochs: int, plain: float) -> None:
        assert self._teacher is not None
        self._settled = True
        better = self._score > plain
        comparison = {"teacher": self._teacher.score, "plain": plain, "trial": trial, "epochs": epochs}
        self._folder.storage.write_json(f"{self._teacher.folder}/{FILE}", {**comparison, "better": better})
        text = _plain_text(trial, epochs, plain)
        if better:
            score = f"{self._metric} {score_text(self._score)}"
            self._note(f"the teacher is better than the plain student: {score} beside {text}")
        else:
            self._find_weak(text)

    def _find_weak(self, beside: str) -> None:
        assert self._teacher is not None
        self._weak = beside
        end = "going on, as teacher.allow_weak says" if self._allowed else "stopping"
        score = f"{self._metric} {score_text(self._score)}"
        self._note(f"the teacher is not better than the plain student: {score} beside {beside}; {end}")
        if not self._allowed:
            self._drain()

    def _is_plain(self, record: TrialRecord) -> bool:
        if record.trial not in self._plain:
            self._plain[record.trial] = not active_terms(self._space.settings(record.point).distill)
        return self._plain[record.trial]


def _plain_text(trial: int | None, epochs: int, value: float) -> str:
    whose = "the base settings" if trial is None else f"trial {trial}"
    return f"{score_text(value)} of {whose} without distillation after {epochs} epochs"
