"""Kill drills on a small study (4 trials x 3 epochs): at every named event and at random moments.

The seed of the random moments is printed; INTRA_SEARCH_DRILL_SEED repeats a drill.
"""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Command, read_history, read_record, write_study

pytestmark = [pytest.mark.drill, pytest.mark.ray, pytest.mark.timeout(1800)]

DRIVER = Path(__file__).parent / "driver.py"
NUM_TRIALS, EPOCHS = 4, 3
# The conductor's `told` is its next `asked`; `checkpoint written` lies between two of its events and has a drill below.
EVENTS = [
    ("TeacherEpoch", 1),
    ("ShardStored", 1),
    ("TrialAsked", 2),
    ("TrialLaunched", 2),
    ("TrialReported", 2),
    ("TrialEnded", 1),
    ("TrialAsked", 4),
]
RANDOM_KILLS = 20


@pytest.fixture
def study_file(roads: Path, tmp_path: Path) -> Path:
    search = {"num_trials": NUM_TRIALS, "startup_trials": 1}
    return write_study(tmp_path / "study.toml", roads, training={"epochs": EPOCHS, "batch_size": 2}, search=search)


def ended_trials(study: Path) -> dict[int, bytes]:
    found = {}
    for path in study.glob("trials/*/record.json"):
        if json.loads(path.read_bytes())["state"] in ("done", "stopped", "failed"):
            found[int(path.parent.name)] = path.read_bytes()
    return found


def rows_of(study: Path) -> dict[int, list[dict[str, Any]]]:
    """Every finished epoch, its seconds included: an epoch that ran twice shows."""
    trials = [int(path.parent.name) for path in study.glob("trials/*/history.jsonl")]
    return {trial: read_history(study, trial) for trial in trials}


def check_nothing_was_repeated(study: Path, ended: dict[int, bytes], rows: dict[int, list[dict[str, Any]]]) -> None:
    """Against what a kill left: ended trials stayed as they were, live ones lost at most one epoch."""
    for trial, record in ended.items():
        assert (study / f"trials/{trial:05d}/record.json").read_bytes() == record
    for trial, before in rows.items():
        kept = len(before) if trial in ended else len(before) - 1
        assert rows_of(study)[trial][:kept] == before[:kept]


def check_whole(command: Command, study: Path) -> None:
    """Every trial has ended with epochs 1..n, and the pick is the ledger's."""
    status = command.json("status", str(study))
    assert status["finished"] == NUM_TRIALS, status
    assert status["trials"]["failed"] == 0
    values = {}
    for trial in range(NUM_TRIALS):
        record, history = read_record(study, trial), read_history(study, trial)
        assert [row["epoch"] for row in history] == list(range(1, record["epochs"] + 1))
        if record["state"] == "done":
            assert record["epochs"] == EPOCHS
            values[trial] = max(row["val/miou"] for row in history)
    best = command.json("best", str(study))
    assert values[best["trial"]] == max(values.values())
    assert best["objectives"]["val/miou"] == max(values.values())


def processes_below(folder: str) -> list[str]:
    """Command lines of living processes that were started with this Ray folder in their environment.

    Ray's workers give themselves other titles, so command lines do not tell whose they are.
    """
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"RAY_TMPDIR={folder}".encode() in (path / "environ").read_bytes().split(b"\0"):
                found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # it ended while we looked
    return found


def wait_until_gone(folder: str) -> None:
    deadline = time.monotonic() + 90  # Ray notices a dead driver within seconds, on a busy machine within a minute
    while processes_below(folder):
        assert time.monotonic() < deadline, processes_below(folder)
        time.sleep(0.2)


@pytest.mark.parametrize(("event", "count"), EVENTS)
def test_killed_at_a_named_event(command: Command, study_file: Path, tmp_path: Path, event: str, count: int) -> None:
    study = tmp_path / "study"
    call = [sys.executable, str(DRIVER), str(study_file), str(study), event, str(count)]
    killed = subprocess.run(call, env=command.environment, check=False, capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    wait_until_gone(command.environment["RAY_TMPDIR"])
    ended, rows = ended_trials(study), rows_of(study)
    command.run("run", str(study_file), "--study", str(study))
    check_nothing_was_repeated(study, ended, rows)
    check_whole(command, study)
    wait_until_gone(command.environment["RAY_TMPDIR"])


def test_killed_at_random_moments(command: Command, study_file: Path, tmp_path: Path) -> None:
    seed = int(os.environ.get("INTRA_SEARCH_DRILL_SEED", time.time()))
    print(f"INTRA_SEARCH_DRILL_SEED={seed}")
    moments = random.Random(seed)
    kills, studies = 0, 0
    study = tmp_path / "study-0"
    while kills < RANDOM_KILLS:
        ended, rows = ended_trials(study), rows_of(study)
        driver = command.start("run", str(study_file), "--study", str(study))
        try:
            driver.wait(timeout=moments.uniform(1, 25))
        except subprocess.TimeoutExpired:
            driver.kill()
            kills += 1
        driver.communicate()
        wait_until_gone(command.environment["RAY_TMPDIR"])
        check_nothing_was_repeated(study, ended, rows)
        if driver.returncode == 0:  # it came through between two kills: the next kills get a study of their own
            check_whole(command, study)
            studies += 1
            study = tmp_path / f"study-{studies}"
    ended, rows = ended_trials(study), rows_of(study)
    command.run("run", str(study_file), "--study", str(study))
    check_nothing_was_repeated(study, ended, rows)
    check_whole(command, study)


def test_killed_while_a_checkpoint_is_written(command: Command, study_file: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    driver = command.start("run", str(study_file), "--study", str(study))
    deadline = time.monotonic() + 120
    # A checkpoint under its temporary name, or published a moment ago.
    while not [*study.glob("trials/*/gen-1/.tmp-checkpoint*"), *study.glob("trials/*/gen-1/checkpoint*")]:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    driver.kill()
    driver.communicate()
    wait_until_gone(command.environment["RAY_TMPDIR"])
    ended, rows = ended_trials(study), rows_of(study)
    command.run("run", str(study_file), "--study", str(study))
    check_nothing_was_repeated(study, ended, rows)
    check_whole(command, study)
