"""Real studies on a Ray cluster of this machine, run through the command line as a user runs them."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from tests.tiny_study import tiny_tree, write_roads

SPACE = {
    "distill.enabled": {"kind": "choice", "values": [True, False]},
    "distill.affinity.weight": {
        "kind": "float",
        "low": 0.01,
        "high": 1.0,
        "log": True,
        "when": {"distill.enabled": True},
    },
    "student.erfnet.width": {"kind": "choice", "values": [0.25, 0.5]},
}


class Command:
    """`intra-search` in a process of its own, with Ray's files in a folder of this test run."""

    def __init__(self, ray_folder: str) -> None:
        self.environment = {**os.environ, "RAY_TMPDIR": ray_folder, "RAY_USAGE_STATS_ENABLED": "0"}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        call = [sys.executable, "-m", "intra_search.cli", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(call, env=self.environment, stdout=pipe, stderr=subprocess.STDOUT, text=True)

    def run(self, *arguments: str, code: int = 0, timeout: float = 240) -> str:
        process = self.start(*arguments)
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()  # its Ray cluster ends with it, and does not slow the tests that follow
            output, _ = process.communicate(timeout=30)
            pytest.fail(f"still running after {timeout} s, having said:\n{output}")
        assert process.returncode == code, output
        return output

    def json(self, *arguments: str) -> Any:
        """What a verb prints as JSON; its notes go to the other stream."""
        call = [sys.executable, "-m", "intra_search.cli", *arguments, "--json"]
        done = subprocess.run(call, env=self.environment, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="session")
def command() -> Iterator[Command]:
    # A short path: Ray's sockets lie below it, and their names may have 107 characters.
    folder = tempfile.mkdtemp(prefix="ish-", dir="/tmp")
    yield Command(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def roads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("roads")
    write_roads(root)
    return root


@pytest.fixture
def own_roads(tmp_path: Path) -> Path:
    """Roads that a test may spoil."""
    root = tmp_path / "roads"
    write_roads(root)
    return root


def write_study(path: Path, roads: Path, **groups: Any) -> Path:
    """A study file of tiny roads with the space above; keyword groups are merged over the settings."""
    tables = {"space": SPACE, "points": [{"distill.enabled": False}]}
    tables.update({name: groups.pop(name) for name in list(groups) if name in tables})
    path.write_text(tomli_w.dumps(tiny_tree(roads, **groups) | tables))
    return path


def wait_for(path: Path, seconds: float = 120) -> None:
    """Waits until a file is there."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.05)


def read_history(study: Path, trial: int) -> list[dict[str, Any]]:
    lines = (study / f"trials/{trial:05d}/history.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def read_record(study: Path, trial: int) -> dict[str, Any]:
    return dict(json.loads((study / f"trials/{trial:05d}/record.json").read_text()))
