"""A conductor is a work source like any other: a simulation drives it without a cluster, on a clock of its own."""

import heapq
from pathlib import Path

from intra_search.config.objectives import Objectives
from intra_search.config.study_file import parse_study
from intra_search.search.conductor import Conductor
from intra_search.search.work import Decision, WorkSource
from intra_search.selection.pick import ranked
from intra_search.store.study_folder import StudyFolder
from intra_search.training.report import TrialReport

STUDY = """
[training]
epochs = 9
[search]
num_trials = 12
startup_trials = 4
[search.halving]
factor = 3
[space."distill.affinity.weight"]
kind = "float"
low = 0.01
high = 1.0
log = true
"""


class Clock:
    """Seconds that pass only when something is done."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> str:
        return f"second {self.seconds!r}"


def simulate(work: WorkSource, clock: Clock, epochs: int, slots: int) -> float:
    """Runs a work source on `slots` made-up devices; an epoch takes 1 second, less for smaller weights. Returns the
    seconds that the whole took."""
    due: list[tuple[float, int, float, list[dict[str, float]]]] = []

    def fill() -> None:
        while len(due) < slots and (assignment := work.next()) is not None:
            weight = assignment.settings.distill.affinity.weight
            heapq.heappush(due, (clock.seconds + 1 + weight, assignment.trial, weight, []))

    fill()
    while due:
        clock.seconds, trial, weight, history = heapq.heappop(due)
        epoch = len(history) + 1
        history.append({"epoch": epoch, "val/miou": (1 - weight) * epoch / 10, "seconds": 1 + weight})
        report = TrialReport(list(history), finished=epoch == epochs, num_parameters=1)
        if work.report(trial, report) is Decision.CONTINUE:
            heapq.heappush(due, (clock.seconds + 1 + weight, trial, weight, history))
        fill()
    return clock.seconds


def test_a_simulation_drives_the_real_conductor(tmp_path: Path) -> None:
    plan, folder, clock = parse_study(STUDY, "f"), StudyFolder(str(tmp_path)), Clock()
    folder.begin(plan.settings.model_dump(mode="json"), plan.space.tables(), "a" * 64)
    conductor = Conductor(folder, plan.settings, plan.space, 1, clock=clock)
    seconds = simulate(conductor, clock, epochs=9, slots=2)
    records = folder.ledger.records()
    assert len(records) == 12
    assert all(record.state.is_finished for record in records)
    assert max(float(str(record.finished).removeprefix("second ")) for record in records) == seconds
    assert records[0].created == "second 0.0"
    spent = sum(record.device_seconds for record in records)
    assert seconds < spent < 2 * seconds + 1e-6  # two devices
    assert spent < 12 * 9  # halving has saved something
    best = ranked(records, Objectives.of(folder.settings))[0]
    done = [record for record in records if record.state == "done"]
    assert best.point == min(done, key=lambda record: record.point["distill.affinity.weight"]).point


def test_the_same_simulation_gives_the_same_ledger(tmp_path: Path) -> None:
    ledgers = []
    for name in ("a", "b"):
        plan, folder, clock = parse_study(STUDY, "f"), StudyFolder(str(tmp_path / name)), Clock()
        folder.begin(plan.settings.model_dump(mode="json"), plan.space.tables(), "a" * 64)
        simulate(Conductor(folder, plan.settings, plan.space, 1, clock=clock), clock, epochs=9, slots=3)
        ledgers.append(folder.ledger.records())
    assert ledgers[0] == ledgers[1]
