"""A run in a folder with planted modules imports none of them; SIGTERM ends it as SIGINT does, in every phase."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import Command, write_study

pytestmark = pytest.mark.ray

PLANTED = "import pathlib; pathlib.Path(r'{ran}').open('a').write(__file__ + chr(10)); raise ImportError(__file__)\n"


def plant(folder: Path, ran: Path) -> None:
    """Modules in a folder that write into the file `ran` when they are imported."""
    folder.mkdir(parents=True)
    for name in ("pyarrow", "pydantic", "intra_search", "sitecustomize", "torch", "numpy"):
        (folder / f"{name}.py").write_text(PLANTED.format(ran=ran))


def start(command: Command, here: Path, *arguments: str) -> "subprocess.Popen[str]":
    """A command whose user stands in a folder; `-P`, as its installed script does not look there for modules."""
    repository = str(Path(__file__).parents[2])
    environment = {**command.environment, "PYTHONPATH": repository}
    call = [sys.executable, "-P", "-m", "intra_search.cli", *arguments]
    return subprocess.Popen(
        call, cwd=here, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def processes_of(environment_value: str) -> list[int]:
    """Processes with this text in their environment."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and environment_value.encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.drill)])
def test_no_process_imports_what_lies_in_the_users_folder(
    workers: int, command: Command, roads: Path, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    plant(study, tmp_path / "ran")
    file = write_study(
        tmp_path / "study.toml",
        roads,
        training={"epochs": 1, "batch_size": 2},
        search={"num_trials": 1},
        resources={"workers": workers, "cpus_per_worker": 0.9},
    )
    driver = start(command, study, "run", str(file), "--study", ".")
    output, _ = driver.communicate(timeout=240)
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()
    assert driver.returncode == 0, output
    assert "trial 0 done" in output


@pytest.mark.parametrize(
    "phase", ["teacher", *(pytest.param(phase, marks=pytest.mark.drill) for phase in ("start", "extraction", "search"))]
)
def test_sigterm_is_an_interruption(phase: str, command: Command, roads: Path, tmp_path: Path) -> None:
    study, mark = tmp_path / "study", f"IN_TEST={tmp_path}"
    file = write_study(
        tmp_path / "study.toml",
        roads,
        scenes={"unlabelled": ["synthetic:1000"]} if phase == "extraction" else {},
        teacher={"training": {"epochs": 300 if phase == "teacher" else 1, "batch_size": 2}},
        training={"epochs": 300, "batch_size": 2},
        search={"num_trials": 1},
        knowledge={"mode": "stored"},
        space={},
        points=[],
    )
    ready: dict[str, Callable[[], bool]] = {
        "start": lambda: (study / "study.toml").exists(),  # Ray starts now
        "teacher": lambda: any(study.glob("teacher/*/gen-1/checkpoint-000002")),
        "extraction": lambda: any(study.glob("knowledge/*/*.arrow")),
        "search": lambda: (study / "trials/00000/gen-1/checkpoint-000002").exists(),
    }
    marked = Command(command.environment["RAY_TMPDIR"])
    marked.environment = {**command.environment, "IN_TEST": str(tmp_path)}
    driver = start(marked, tmp_path, "run", str(file), "--study", str(study))
    deadline = time.monotonic() + 120
    while not ready[phase]():
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    driver.send_signal(signal.SIGTERM)
    output, _ = driver.communicate(timeout=120)
    assert driver.returncode == 143, output
    assert output.strip().splitlines()[-1].startswith("intra-search: interrupted; the same command goes on"), output
    assert "Traceback" not in output
    assert "Check failed" not in output
    deadline = time.monotonic() + 20
    while processes_of(mark):
        assert time.monotonic() < deadline, processes_of(mark)
        time.sleep(0.2)
