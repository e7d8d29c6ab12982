"""Trials of two Ray Train workers each inside one Tune search; one worker is killed and its trial goes on."""

import os
import re
import signal
from pathlib import Path

import pytest

from tests.commands import Command, read_history, read_record, write_study

pytestmark = pytest.mark.ray

EPOCHS = 12
WORKERS = re.compile(r"trial (\d+): 2 workers: pid (\d+) on \S+, pid (\d+) on ")


def test_two_trials_of_two_workers_and_a_killed_worker(command: Command, roads: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    file = write_study(
        tmp_path / "study.toml",
        roads,
        training={"epochs": EPOCHS, "batch_size": 2},
        search={"num_trials": 2, "halving": {"enabled": False}},
        resources={"workers": 2, "cpus_per_worker": 0.9},
    )
    driver = command.start("run", str(file), "--study", str(study))
    assert driver.stdout is not None
    groups: list[tuple[int, int, int]] = []
    lines = []
    with driver:
        for line in driver.stdout:
            lines.append(line)
            found = WORKERS.search(line)
            if found:
                groups.append((int(found[1]), int(found[2]), int(found[3])))
                if len(groups) == 1:
                    os.kill(groups[0][2], signal.SIGKILL)  # one worker of trial 0, after its first epoch
    output = "".join(lines)
    assert driver.returncode == 0, output
    # Trial 0 in two groups, trial 1 in one: each of two processes, all different. That both hold the same weights
    # is checked after every epoch by the training itself (`check_replicas`).
    assert [trial for trial, *_ in groups] == [0, 0, 1], output
    assert len({pid for _, *pids in groups for pid in pids}) == 6
    for trial, restarts in ((0, 1), (1, 0)):
        record = read_record(study, trial)
        assert (record["state"], record["restarts"]) == ("done", restarts)
        assert [row["epoch"] for row in read_history(study, trial)] == list(range(1, EPOCHS + 1))
    assert command.json("status", str(study))["trials"]["done"] == 2


def test_a_trial_that_does_not_fit_is_refused_with_what_would(command: Command, roads: Path, tmp_path: Path) -> None:
    file = write_study(
        tmp_path / "study.toml",
        roads,
        training={"epochs": 1, "batch_size": 8},
        resources={"workers": 8, "cpus_per_worker": 9},
    )
    output = command.run("run", str(file), "--study", str(tmp_path / "study"), code=2)
    last = output.strip().splitlines()[-1]
    assert "resources: a trial of 8 x (9 CPU, 0 GPU) + 0.01 CPU must fit the cluster" in last
    assert "use a larger cluster" in last


def test_a_group_in_which_one_worker_fails_for_good_ends_with_its_reason(
    command: Command, own_roads: Path, tmp_path: Path
) -> None:
    """A picture is damaged after the study's own check: one of two workers meets it, the other waits in a sum."""
    study, file = tmp_path / "study", write_study(tmp_path / "study.toml", own_roads)
    command.run("run", str(file), "--study", str(study), "--set", "search.num_trials=1")
    for number in range(0, 12, 3):
        picture = own_roads / "images" / f"road{number:03d}.png"
        picture.write_bytes(b"\0" * picture.stat().st_size)  # of the same size: the data set's hash stays
    settings = ["search.num_trials=2", "resources.workers=2", "resources.cpus_per_worker=0.9"]
    more = [part for setting in settings for part in ("--set", setting)]
    command.run("run", str(file), "--study", str(study), *more, timeout=150)
    record = read_record(study, 1)
    assert record["state"] == "failed"
    assert re.search(r"road\d+.png", record["reason"])
    assert "Traceback" not in record["reason"]
