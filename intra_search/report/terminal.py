"""What a person sees in the terminal: a live table while a study runs (plain lines elsewhere), and the ranking."""

import json
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from intra_search.selection.pick import Pick, ranked
from intra_search.store.ledger import HistoryRow, TrialRecord, score_text
from intra_search.store.study_folder import StudyFolder

STATE_STYLES = {
    "done": "green",
    "stopped": "yellow",
    "failed": "red",
    "running": "cyan",
    "waiting": "dim",
    "infeasible": "magenta",
}
MAX_LIVE_ROWS = 20
BASELINES = {"background": "background only", "untrained": "untrained"}


class LiveObserver:
    """Shows a running study. On a terminal the trials stand in a table that is redrawn; else each event is a line."""

    def __init__(self, console: Console, num_trials: int, epochs: int, metric: str) -> None:
        self._console = console
        self._num_trials = num_trials
        self._epochs = epochs
        self._metric = metric
        self._records: dict[int, TrialRecord] = {}
        self._live: Live | None = None

    def __enter__(self) -> "LiveObserver":
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def note(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def teacher_epoch(self, row: HistoryRow, epochs: int) -> None:
        score = f"{self._metric} {score_text(row[self._metric])}"
        self.note(f"teacher epoch {row['epoch']}/{epochs}: {score}, {row['seconds']:.1f} s")

    def extracted(self, shards: int, of: int) -> None:
        self.note(f"knowledge: {shards} of {of} shards stored")

    def trial_event(self, event: str, record: TrialRecord, history: list[HistoryRow]) -> None:
        self._records[record.trial] = record
        if self._console.is_terminal:
            self._redraw()
        elif event == "launched":
            verb = "resumed" if record.restarts else "started"
            self.note(f"trial {record.trial} {verb}: {point_text(record.point)}")
        elif event == "reported" and history:
            value = history[-1].get(self._metric)
            shown = "no value" if value is None else f"{self._metric} {value:.4f}"
            self.note(f"trial {record.trial} epoch {len(history)}/{self._epochs}: {shown}")
        elif event == "recorded":
            self.note(f"trial {record.trial} {record.state}{_reason(record)}")

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
        self._live.update(Group(trial_table(newest, self._metric, self._epochs, title)))


def trial_table(records: list[TrialRecord], metric: str, epochs: int, title: str) -> Table:
    """One row per trial, in the given order."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for column, side in (("trial", "right"), ("state", "left"), ("epochs", "right"), (metric, "right")):
        table.add_column(column, justify=side)  # type: ignore[arg-type]
    table.add_column("parameters", justify="right")
    table.add_column("settings", overflow="fold")
    for record in records:
        value = record.objectives.get(metric)
        table.add_row(
            str(record.trial),
            f"[{STATE_STYLES[record.state]}]{record.state}[/]",
            f"{record.epochs}/{epochs}",
            "" if value is None else f"{value:.4f}",
            "" if record.num_parameters is None else f"{record.num_parameters:,}",
            point_text(record.point).replace("[", r"\["),
        )
    return table


def point_text(point: dict[str, Any]) -> str:
    """A point in one line, with the shortest names that still tell its settings apart."""
    paths = list(point)
    short = {path: path.split(".")[-1] for path in paths}
    twice = {name for name in short.values() if list(short.values()).count(name) > 1}
    names = {path: ".".join(path.split(".")[-2:]) if short[path] in twice else short[path] for path in paths}
    return ", ".join(f"{names[path]}={_value_text(value)}" for path, value in point.items()) or "base settings"


def print_ranking(console: Console, folder: StudyFolder) -> None:
    """All trials, best first."""
    settings = folder.stored()["settings"]
    metric = settings["search"]["objectives"][0]
    records = folder.ledger.records()
    scored = ranked(records, metric)
    rest = [record for record in records if record not in scored]
    console.print(trial_table([*scored, *rest], metric, settings["training"]["epochs"], "Ranking"))


def print_pick(console: Console, folder: StudyFolder, chosen: Pick) -> None:
    """The pick beside what it must beat, and where to look next."""
    record = chosen.record
    lines = [f"Pick: trial {record.trial}, epoch {record.best_epoch}, {record.num_parameters or 0:,} parameters"]
    for name, value in record.objectives.items():
        lines.append(f"  {name} {value:.4f}{_baseline_text(folder)}")
    lines.append(f"  {point_text(record.point)}")
    lines.append(f"  checkpoint {chosen.checkpoint}")
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def tensorboard_hint(folder: StudyFolder) -> str:
    return f"TensorBoard: tensorboard --logdir {folder.storage.full_path('tensorboard')}"


def _baseline_text(folder: StudyFolder) -> str:
    storage = folder.storage
    known = []
    if storage.exists("baselines.json"):
        baselines = storage.read_json("baselines.json")
        known += [f"{name} {score_text(baselines[key])}" for key, name in BASELINES.items()]
    for name in storage.names("teacher"):
        if storage.exists(f"teacher/{name}/record.json"):
            teacher = storage.read_json(f"teacher/{name}/record.json")["teacher"]
            known.append(f"teacher {score_text(teacher['score'])}")
        if storage.exists(f"teacher/{name}/comparison.json"):
            compared = storage.read_json(f"teacher/{name}/comparison.json")
            whose = "plain student" if compared["trial"] is None else f"plain trial {compared['trial']}"
            known.append(f"{whose} {score_text(compared['plain'])}")
    return f" ({', '.join(known)})" if known else ""


def _value_text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def _reason(record: TrialRecord) -> str:
    return f": {record.reason.strip().splitlines()[-1]}" if record.reason else ""
