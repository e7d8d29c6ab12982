"""What a person sees in the terminal: a live table while a study runs (plain lines elsewhere), and the ranking."""

import json
from collections.abc import Iterable
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from intra_search.config.objectives import Objectives, value_text
from intra_search.config.study import StudySettings
from intra_search.errors import printable, shortened
from intra_search.selection.pick import Pick, Twin, ranked
from intra_search.store.events import (
    Event,
    Note,
    PlainStudentEpoch,
    ShardStored,
    TeacherEpoch,
    TrialAsked,
    TrialEnded,
    TrialEvent,
    TrialLaunched,
    TrialReported,
    TwinEpoch,
)
from intra_search.store.ledger import HistoryRow, TrialRecord
from intra_search.store.study_folder import StudyFolder

MAX_LIVE_ROWS = 20
MAX_LINE = 1000


def print_lines(console: Console, lines: Iterable[str]) -> None:
    """Prints each line as it is: it may come from a file, so nothing in it is markup or steers the terminal."""
    text = "\n".join(printable(line) for line in lines)
    console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)


class Terminal:
    """Listens to a running study. On a terminal the trials stand in a table that is redrawn; else each event is a
    line."""

    def __init__(self, console: Console, settings: StudySettings) -> None:
        self._console = console
        self._num_trials = settings.search.num_trials
        self._epochs = settings.training.epochs
        self._objectives = Objectives.of(settings)
        self._records: dict[int, TrialRecord] = {}
        self._live: Live | None = None

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        match event:
            case Note(text):
                self._print(text)
            case TeacherEpoch(row, epochs):
                score = self._objectives.lead.text(row[self._objectives.lead.metric])
                self._print(f"teacher epoch {row['epoch']}/{epochs}: {score}, {row['seconds']:.1f} s")
            case PlainStudentEpoch(row, epochs):
                score = value_text(row[self._objectives.lead.metric])
                self._print(f"plain student epoch {row['epoch']}/{epochs}: {score}, {row['seconds']:.1f} s")
            case TwinEpoch(trial, row, epochs):
                score = self._objectives.lead.text(row[self._objectives.lead.metric])
                self._print(f"plain twin of trial {trial}, epoch {row['epoch']}/{epochs}: {score}")
            case ShardStored(stored, total):
                self._print(f"knowledge: {stored} of {total} shards stored")
            case _:
                self._trial(event)

    def _trial(self, event: TrialEvent) -> None:
        self._records[event.record.trial] = event.record
        if self._console.is_terminal:
            self._redraw()
            return
        line = self._line(event)
        if line:
            self._print(f"trial {event.record.trial} {line}")

    def _line(self, event: TrialEvent) -> str:
        match event:
            case TrialAsked(_):
                return ""
            case TrialLaunched(record):
                return f"{'resumed' if record.restarts else 'started'}: {point_text(record.point)}"
            case TrialReported(_, history):
                return f"epoch {len(history)}/{self._epochs}: {self._shown(history[-1])}" if history else ""
            case TrialEnded(record, _):
                return f"{record.state}{_reason(record)}"

    def _shown(self, row: HistoryRow) -> str:
        scores = self._objectives.scores(row)
        return "no value" if scores is None else self._objectives.text(scores)

    def _print(self, text: str) -> None:
        print_lines(self._console, [shortened(text, MAX_LINE)])

    def _redraw(self) -> None:
        if self._live is None:
            self._live = Live(console=self._console, refresh_per_second=4)
            self._live.start()
        counts: dict[str, int] = {}
        for record in self._records.values():
            counts[record.state] = counts.get(record.state, 0) + 1
        summary = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        newest = sorted(self._records.values(), key=lambda record: record.trial)[-MAX_LIVE_ROWS:]
        title = f"{len(self._records)} of {self._num_trials} trials: {summary}"
        self._live.update(Group(trial_table(newest, self._objectives, self._epochs, title)))


def trial_table(records: list[TrialRecord], objectives: Objectives, epochs: int, title: str) -> Table:
    """One row per trial, in the given order, with a column per objective."""
    metrics = [objective.metric for objective in objectives.objectives]
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("trial", justify="right")
    table.add_column("state", justify="left")
    for column in ("epochs", *metrics, "parameters"):
        table.add_column(column, justify="right")
    table.add_column("settings", overflow="fold")
    for record in records:
        values = [record.objectives.get(metric) for metric in metrics]
        table.add_row(
            str(record.trial),
            f"[{record.state.colour}]{record.state}[/]",
            f"{record.epochs}/{epochs}",
            *("" if value is None else value_text(value) for value in values),
            "" if record.num_parameters is None else f"{record.num_parameters:,}",
            Text(shortened(printable(point_text(record.point)), MAX_LINE)),
        )
    return table


def point_text(point: dict[str, Any]) -> str:
    """A point in one line, with the shortest names that still tell its settings apart."""
    paths = list(point)
    short = {path: path.split(".")[-1] for path in paths}
    twice = {name for name in short.values() if list(short.values()).count(name) > 1}
    names = {path: ".".join(path.split(".")[-2:]) if short[path] in twice else short[path] for path in paths}
    return ", ".join(f"{names[path]}={_setting_text(value)}" for path, value in point.items()) or "base settings"


def print_ranking(console: Console, folder: StudyFolder) -> None:
    """All trials, best first."""
    settings, records = folder.settings, folder.ledger.records()
    objectives = Objectives.of(settings)
    scored = ranked(records, objectives)
    rest = [record for record in records if record not in scored]
    console.print(trial_table([*scored, *rest], objectives, settings.training.epochs, "Ranking"))


def print_pick(console: Console, folder: StudyFolder, chosen: Pick) -> None:
    """The pick, and beside its score the baselines, the teacher and the plain student."""
    record = chosen.record
    lines = [f"Pick: trial {record.trial}, epoch {record.best_epoch}, {record.num_parameters or 0:,} parameters"]
    for name, value in record.objectives.items():
        lines.append(f"  {name} {value_text(value)}{_baseline_text(folder)}")
    lines += [f"  {twin_text(chosen.twin)}"] if chosen.twin else []
    lines.append(f"  {point_text(record.point)}")
    lines.append(f"  checkpoint {chosen.checkpoint}")
    print_lines(console, lines)


def twin_text(twin: Twin) -> str:
    """What distillation was worth, in one line."""
    return f"its plain twin {value_text(twin.value)}: distillation is worth {twin.gain:+.4f} here (one seed)"


def tensorboard_hint(folder: StudyFolder) -> str:
    return f"TensorBoard: tensorboard --logdir {folder.storage.full_path('tensorboard')}"


def _baseline_text(folder: StudyFolder) -> str:
    known = []
    baselines = folder.baselines.find()
    if baselines is not None:
        known += [f"background only {value_text(baselines.background)}", f"untrained {value_text(baselines.untrained)}"]
    for home in folder.teacher_homes:
        teacher, compared = folder.teacher(home).find(), folder.comparison(home).find()
        if teacher is not None:
            known.append(f"teacher {value_text(teacher.teacher.score)}")
        if compared is not None:
            whose = "plain student" if compared.trial is None else f"plain trial {compared.trial}"
            known.append(f"{whose} {value_text(compared.plain)}")
    return f" ({', '.join(known)})" if known else ""


def _setting_text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def _reason(record: TrialRecord) -> str:
    _, _, last = (record.reason or "").strip().rpartition("\n")
    return f": {last}" if last else ""
