"""A command whose streams are closed, and one that is asked to leave, end without a traceback."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from intra_search.cluster.interrupts import SIGNALS, begin, leaving_once_stored, own_handlers
from tests.commands import write_study

CALL = (sys.executable, "-m", "intra_search.cli")


@pytest.fixture
def study_file(roads: Path, tmp_path: Path) -> Path:
    return write_study(tmp_path / "study.toml", roads)


@pytest.fixture
def handlers() -> Iterator[None]:
    """Handlers of the test run itself come back."""
    kept = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    begin()  # forgets the signals
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("option", ["--dry-run", "--help"])
def test_output_that_nobody_reads(option: str, study_file: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    call = [*CALL, "run", str(study_file), option]
    done = subprocess.run(call, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_closed_streams(closed: str, study_file: Path) -> None:
    call = f"{' '.join(CALL)} run {study_file} --dry-run {closed}"
    done = subprocess.run(["sh", "-c", call], capture_output=True, check=False)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_before_anything_has_begun(number: int, code: int, tmp_path: Path) -> None:
    """The command waits for the writer of its study file, a pipe."""
    os.mkfifo(tmp_path / "study.toml")
    process = subprocess.Popen([*CALL, "run", str(tmp_path / "study.toml")], stderr=subprocess.PIPE, text=True)
    with open(tmp_path / "study.toml", "w"):  # waits until the command has opened it
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    assert process.returncode == code, error
    assert error == "intra-search: interrupted; the same command goes on from the last checkpoints\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_once_drains_and_twice_leaves(number: signal.Signals, handlers: None) -> None:
    before, said = signal.getsignal(number), list[str]()
    with leaving_once_stored(lambda: said.append("drained"), said.append):
        signal.raise_signal(number)
        assert said == ["interrupted: trials finish their epoch and leave; once more to leave now", "drained"]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_handlers_that_ray_sets_are_ignored(handlers: None) -> None:
    begin()
    before = signal.getsignal(signal.SIGTERM)
    with own_handlers():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) is before
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_a_signal_that_rays_start_swallowed_still_ends_the_command(handlers: None) -> None:
    begin()
    with pytest.raises(KeyboardInterrupt), own_handlers(), suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
