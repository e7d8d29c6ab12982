"""A cluster that outlives its drivers: a study as a job on the head, and what a killed driver leaves there.

`launch/local.sh` starts the head on this machine, with its dashboard, on ports of its own, and ends it by its pid.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Command, read_history, read_record, write_study
from tests.ray.test_foreign_folder import plant
from tests.ray.test_launch import LAUNCH, free_port

pytestmark = [pytest.mark.drill, pytest.mark.ray, pytest.mark.timeout(900)]

EPOCHS = 60
LEFT = """
import json, sys
from ray.util.state import list_actors, list_placement_groups
address = sys.argv[1]
groups = [group.placement_group_id for group in list_placement_groups(address) if group.state != "REMOVED"]
rays_own = {"_AutoscalingCoordinatorActor"}  # one per cluster, which Ray Train starts and leaves
actors = [actor.class_name for actor in list_actors(address) if actor.state != "DEAD"]
actors = [name for name in actors if name not in rays_own]
print(json.dumps({"placement groups": groups, "actors": actors}))
"""
STATUS = """
import sys
from ray.job_submission import JobSubmissionClient
client = JobSubmissionClient(sys.argv[1])
status = client.get_job_status(sys.argv[2])
print(status.value)
if status.is_terminal():
    print(client.get_job_logs(sys.argv[2]))
"""


@pytest.fixture
def cluster(command: Command, tmp_path: Path) -> Iterator[dict[str, str]]:
    names = ("RAY_PORT", "RAY_CLIENT_PORT", "RAY_DASHBOARD_PORT", "RAY_AGENT_PORT")
    environment = {
        **command.environment,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "disabled",
        "CPUS_PER_NODE": "2",
        **{name: free_port() for name in names},
    }
    environment["RAY_ADDRESS"] = f"http://127.0.0.1:{environment['RAY_DASHBOARD_PORT']}"
    script = str(LAUNCH / "local.sh")
    # To files: a head that goes on would hold a pipe open.
    plant(tmp_path / "here", tmp_path / "ran")
    started = subprocess.run(
        [script], cwd=tmp_path / "here", env=environment, stdout=subprocess.DEVNULL, timeout=120, check=False
    )
    assert started.returncode == 0
    yield environment
    subprocess.run([script, "--stop"], env=environment, check=True, timeout=60)


def asked(cluster: dict[str, str], script: str, *arguments: str) -> str:
    """Output of a script that asks the dashboard."""
    call = [sys.executable, "-c", script, cluster["RAY_ADDRESS"], *arguments]
    done = subprocess.run(call, env=cluster, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def wait_until_nothing_is_left(cluster: dict[str, str]) -> None:
    deadline = time.monotonic() + 60
    while True:
        left: dict[str, Any] = json.loads(asked(cluster, LEFT).splitlines()[-1])
        if not any(left.values()):
            return
        assert time.monotonic() < deadline, left
        time.sleep(1)


def test_a_study_as_a_job_and_nothing_left_of_a_killed_driver(
    command: Command, cluster: dict[str, str], roads: Path, tmp_path: Path
) -> None:
    check_job(command, cluster, roads, tmp_path)
    check_killed_driver(cluster, roads, tmp_path)


def check_job(command: Command, cluster: dict[str, str], roads: Path, tmp_path: Path) -> None:
    study = tmp_path / "as-a-job"
    search = {"num_trials": 1}
    file = write_study(tmp_path / "job.toml", roads, training={"epochs": 1, "batch_size": 2}, search=search)
    # An override goes through: two trials instead of one.
    call = [str(LAUNCH / "job_submit.sh"), str(file), str(study), "--set", "search.num_trials=2"]
    plant(study, tmp_path / "ran")
    environment = {**cluster, "JOB_ID": "drill"}
    submitted = subprocess.run(
        call, cwd=study, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    deadline = time.monotonic() + 240
    while not re.match("SUCCEEDED|FAILED|STOPPED", output := asked(cluster, STATUS, "drill")):
        assert time.monotonic() < deadline, output
        time.sleep(2)
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()
    assert output.startswith("SUCCEEDED"), output
    assert "Pick: trial" in output
    assert command.json("status", str(study))["trials"]["done"] == 2
    assert command.json("best", str(study))["trial"] in (0, 1)
    wait_until_nothing_is_left(cluster)


def check_killed_driver(cluster: dict[str, str], roads: Path, tmp_path: Path) -> None:
    study = tmp_path / "killed"
    file = write_study(
        tmp_path / "killed.toml",
        roads,
        training={"epochs": EPOCHS, "batch_size": 2},
        search={"num_trials": 1},
        resources={"workers": 2, "cpus_per_worker": 0.9},
    )
    joined = Command(cluster["RAY_TMPDIR"])
    joined.environment = {name: value for name, value in cluster.items() if name != "RAY_ADDRESS"}
    call = ("run", str(file), "--study", str(study), "--address", f"127.0.0.1:{cluster['RAY_PORT']}")
    driver = joined.start(*call)
    deadline = time.monotonic() + 240
    while not (study / "trials/00000/history.jsonl").exists():
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    assert read_record(study, 0)["state"] == "running"
    wait_until_nothing_is_left(cluster)
    output = joined.run(*call)
    assert "trial 0 resumed" in output
    assert read_record(study, 0)["state"] == "done"
    assert [row["epoch"] for row in read_history(study, 0)] == list(range(1, EPOCHS + 1))
    wait_until_nothing_is_left(cluster)
