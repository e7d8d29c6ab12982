"""Launch scripts, and a cluster that exists: by its address, through a Ray client, and as a job on the head."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import Command, write_study

pytestmark = pytest.mark.ray

LAUNCH = Path(__file__).parents[2] / "launch"


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture(scope="module")
def cluster(command: Command) -> Iterator[dict[str, str]]:
    """A head started by `local.sh`, and ended by it."""
    environment = {
        **command.environment,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_PORT": free_port(),
        "RAY_CLIENT_PORT": free_port(),
        "RAY_DASHBOARD_PORT": free_port(),
        "RAY_AGENT_PORT": free_port(),
        "RAY_AUTH_MODE": "disabled",
    }
    script = str(LAUNCH / "local.sh")
    started = subprocess.run([script], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert started.returncode == 0, started.stderr
    command.environment["RAY_AUTH_MODE"] = "disabled"
    yield environment
    subprocess.run([script, "--stop"], env=environment, check=True, timeout=60)


def test_a_study_on_a_cluster_that_exists(
    command: Command, cluster: dict[str, str], roads: Path, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    file = write_study(
        tmp_path / "study.toml", roads, training={"epochs": 1, "batch_size": 2}, search={"num_trials": 1}
    )
    address = f"127.0.0.1:{cluster['RAY_PORT']}"
    assert "Pick: trial 0" in command.run("run", str(file), "--study", str(study), "--address", address)
    # The same study goes on through a Ray client, with the driver on the cluster.
    client = f"ray://127.0.0.1:{cluster['RAY_CLIENT_PORT']}"
    more = ["--set", "search.num_trials=2"]
    output = command.run("run", str(file), "--study", str(study), "--address", client, *more)
    assert "trial 1 started" in output
    assert command.json("status", str(study))["trials"]["done"] == 2


def test_a_wrong_address_is_refused(command: Command, roads: Path, tmp_path: Path) -> None:
    file = write_study(tmp_path / "study.toml", roads)
    output = command.run("run", str(file), "--study", str(tmp_path / "study"), "--address", "127.0.0.1:9", code=2)
    assert "--address 127.0.0.1:9: must be a running Ray cluster" in output


def test_a_port_in_use_is_refused_before_ray_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = {"RAY_PORT": free_port(), "RAY_CLIENT_PORT": free_port(), "RAY_AGENT_PORT": free_port()}
        ports["RAY_DASHBOARD_PORT"] = str(taken.getsockname()[1])
        environment = {"PATH": os.environ["PATH"], "RAY_TMPDIR": str(tmp_path), **ports}
        script = ["bash", str(LAUNCH / "local.sh")]
        done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"RAY_DASHBOARD_PORT={ports['RAY_DASHBOARD_PORT']}: must be a free port" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_scripts_say_how_to_use_them(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "RAY_TMPDIR": str(tmp_path)}
    for script, arguments in (("job_submit.sh", []), ("local.sh", ["--stop"])):
        done = subprocess.run(
            ["bash", str(LAUNCH / script), *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert done.stderr.strip()
