"""Files and folders that may not be read are one line that names them, exit code 2. Root reads everything, so where the
tests run as root the command gives that right up."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from intra_search.store.study_folder import StudyFolder
from tests.commands import write_study

BOUND = "-dac_override,-dac_read_search"
AS_A_USER = ("setpriv", f"--inh-caps={BOUND}", f"--bounding-set={BOUND}") if os.getuid() == 0 else ()


def refusal(*arguments: str) -> str:
    """What `intra-search` says when it refuses."""
    call = [*AS_A_USER, sys.executable, "-m", "intra_search.cli", *arguments]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert lines[-1].startswith("intra-search: ")
    assert not any("Traceback" in line for line in lines)
    return lines[-1]


@pytest.mark.parametrize("closed", ["images", "masks", "classes.csv", "images/road000.png"])
def test_scenes(closed: str, own_roads: Path, tmp_path: Path) -> None:
    file, study = write_study(tmp_path / "study.toml", own_roads), tmp_path / "study"
    (own_roads / closed).chmod(0)
    said = refusal("run", str(file), "--study", str(study))
    (own_roads / closed).chmod(0o755)
    assert str(own_roads / closed) in said
    assert "Permission denied" in said
    assert not study.exists()


@pytest.mark.parametrize("closed", ["", "lock", "study.toml", "trials"])
def test_studies(closed: str, own_roads: Path, tmp_path: Path) -> None:
    file, study = write_study(tmp_path / "study.toml", own_roads), tmp_path / "study"
    StudyFolder(str(study)).begin({}, {}, "0")
    (study / "trials").mkdir()
    (study / "lock").touch()
    (study / closed).chmod(0)
    told = [refusal("status", str(study)), refusal("run", str(file), "--study", str(study))]
    (study / closed).chmod(0o755)
    assert all(str(study) in said for said in told)


def test_address_space(own_roads: Path, tmp_path: Path) -> None:
    file = write_study(tmp_path / "study.toml", own_roads)
    call = [sys.executable, "-m", "intra_search.cli", "run", str(file), "--study", str(tmp_path / "study")]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))

    done = subprocess.run(call, capture_output=True, text=True, check=False, preexec_fn=limit)
    assert done.returncode == 2
    assert done.stderr.startswith("intra-search: ulimit -v: must leave ")
    assert done.stderr.endswith("found 1.0 GiB; run `ulimit -v unlimited` first\n")
