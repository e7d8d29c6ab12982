"""Trials of two Ray Train workers each inside one Tune search; one worker is killed and its trial goes on."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.commands import Command, read_history, read_record, wait_for, write_study

pytestmark = pytest.mark.ray

EPOCHS = 12
WORKERS = re.compile(r"trial (\d+): 2 workers: pid (\d+) on \S+, pid (\d+) on ")
WEIGHTS = re.compile(r"trial (\d+): after epoch \d+, weights on 2 workers: (\w+), (\w+)")


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
    # Trial 0 in two groups, trial 1 in one: each of two processes, all different.
    assert [trial for trial, *_ in groups] == [0, 0, 1], output
    assert len({pid for _, *pids in groups for pid in pids}) == 6
    weights = WEIGHTS.findall(output)
    assert [trial for trial, *_ in weights] == ["0", "0", "1"], output
    assert all(first == second for _, first, second in weights)
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


@pytest.mark.drill
def test_interrupted_once_it_finishes_the_epoch_and_twice_it_leaves_now(
    command: Command, roads: Path, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    file = write_study(
        tmp_path / "study.toml",
        roads,
        training={"epochs": 2000, "batch_size": 2},
        search={"num_trials": 1},
        resources={"workers": 2, "cpus_per_worker": 0.9},
    )
    call = ("run", str(file), "--study", str(study))
    driver = command.start(*call)
    wait_for(study / "trials/00000/gen-1/checkpoint-000002")
    driver.send_signal(signal.SIGINT)
    output, _ = driver.communicate(timeout=90)
    assert driver.returncode == 130, output
    first = read_history(study, 0)
    assert read_record(study, 0)["state"] == "waiting"
    assert read_record(study, 0)["epochs"] == len(first) >= 1  # the second epoch's report may be under way

    driver = command.start(*call)
    wait_for(study / f"trials/00000/gen-2/checkpoint-{len(first) + 4:06d}")
    driver.send_signal(signal.SIGINT)
    time.sleep(0.2)
    driver.send_signal(signal.SIGINT)
    output, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130, output
    second = read_history(study, 0)
    assert [row["epoch"] for row in second] == list(range(1, len(second) + 1))
    assert second[: len(first)] == first
    assert len(second) > len(first)


NO_SPACE = """\"\"\"Leaves no space for the checkpoint of epoch 2 as long as a file `full` lies beside this one.\"\"\"
import errno, os, pathlib

fsync, full = os.fsync, pathlib.Path(__file__).with_name("full")

def none_left(file):
    if full.exists() and "checkpoint-000002" in os.readlink(f"/proc/self/fd/{file}"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    fsync(file)

os.fsync = none_left
"""


@pytest.mark.drill
def test_a_full_disk_ends_the_study_and_a_worker_that_fails_for_good_its_trial(
    command: Command, own_roads: Path, tmp_path: Path
) -> None:
    """First there is no space in the middle of trial 0; then trial 1 finds a picture damaged, which one of its two
    workers meets while the other waits in a sum."""
    study, faults = tmp_path / "study", tmp_path / "faults"
    faults.mkdir()
    (faults / "sitecustomize.py").write_text(NO_SPACE)  # imported by every Python process, Ray's workers too
    (faults / "full").touch()
    faulty = Command(command.environment["RAY_TMPDIR"])
    faulty.environment["PYTHONPATH"] = f"{faults}:{os.environ.get('PYTHONPATH', '')}"
    file = write_study(
        tmp_path / "study.toml",
        own_roads,
        search={"num_trials": 2, "max_concurrent": 1, "halving": {"enabled": False}},
        scenes={"cache": False},  # else the picture that is damaged below would not be read again
        resources={"workers": 2, "cpus_per_worker": 0.9},
    )
    output = faulty.run("run", str(file), "--study", str(study), code=2)
    errors = [line for line in output.splitlines() if line.startswith("intra-search: ")]
    assert errors == [output.strip().splitlines()[-1]]
    assert "checkpoint-000002" in errors[0]
    assert "needs space, found none left on the device; free some" in errors[0]
    assert "Traceback" not in output
    first = read_history(study, 0)
    assert [row["epoch"] for row in first] == [1]
    assert read_record(study, 0)["state"] == "running"
    assert not list(study.rglob(".tmp-*"))

    (faults / "full").unlink()
    driver = faulty.start("run", str(file), "--study", str(study))
    assert driver.stdout is not None
    lines = []
    with driver:
        for line in driver.stdout:
            lines.append(line)
            if line.startswith("trial 0 done"):
                for number in range(0, 12, 3):
                    picture = own_roads / "images" / f"road{number:03d}.png"
                    picture.write_bytes(b"\0" * picture.stat().st_size)
    output = "".join(lines)
    assert driver.returncode == 0, output
    assert "trial 0 resumed" in output
    assert read_history(study, 0)[0] == first[0]  # nothing that was stored is done again
    assert [row["epoch"] for row in read_history(study, 0)] == [1, 2]
    record = read_record(study, 1)
    assert (record["state"], record["restarts"]) == ("failed", 0)
    assert re.search(r"road\d+.png", record["reason"])
    assert "Traceback" not in record["reason"]
