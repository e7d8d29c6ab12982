"""A training worker of a two-worker trial is killed five times; the trial ends whole."""

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Command, read_history, read_record, write_study
from tests.drills.test_kills import wait_until_gone

pytestmark = [pytest.mark.drill, pytest.mark.ray, pytest.mark.timeout(900)]

EPOCHS, KILLS = 20, 5
WORKERS = re.compile(r"trial 0: 2 workers: pid (\d+) on \S+, pid (\d+) on ")


def test_a_worker_killed_five_times(command: Command, roads: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    training = {"epochs": EPOCHS, "batch_size": 2}
    resources = {"workers": 2, "cpus_per_worker": 0.9}
    file = write_study(tmp_path / "study.toml", roads, training=training, resources=resources, search={"num_trials": 1})
    driver = command.start("run", str(file), "--study", str(study))
    assert driver.stdout is not None
    lines: list[str] = []
    groups = 0
    before: list[dict[str, Any]] = []
    with driver:
        for line in driver.stdout:
            lines.append(line)
            found = WORKERS.search(line)
            if found:
                groups += 1
                rows = read_history(study, 0)
                kept = max(0, len(before) - 1)
                assert rows[:kept] == before[:kept]  # at most the last epoch was lost
                before = rows
                if groups <= KILLS:
                    os.kill(int(found[1 + groups % 2]), signal.SIGKILL)
    assert driver.returncode == 0, "".join(lines)
    assert groups == KILLS + 1
    record = read_record(study, 0)
    assert (record["state"], record["restarts"]) == ("done", KILLS)
    history = read_history(study, 0)
    assert [row["epoch"] for row in history] == list(range(1, EPOCHS + 1))
    assert history[: len(before)] == before
    best = command.json("best", str(study))
    assert (best["trial"], best["objectives"]["val/miou"]) == (0, max(row["val/miou"] for row in history))
    wait_until_gone(command.environment["RAY_TMPDIR"])
