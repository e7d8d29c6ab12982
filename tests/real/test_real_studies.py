"""Two trials on each of the real samples, through the command line; skipped, with a message, without the frames."""

import os
from pathlib import Path

import pytest

from tests.commands import Command

pytestmark = [pytest.mark.ray, pytest.mark.real]

SPACES = Path(__file__).parents[2] / "search_spaces"
SMALL = (
    "search.num_trials=2",
    "teacher.training.epochs=1",
    "teacher.allow_weak=true",
    "training.epochs=1",
    "scenes.height=64",
    "scenes.width=112",
    "scenes.views=1",
    "teacher.options.head_channels=16",
)


@pytest.mark.parametrize(
    ("space", "folder", "metric"),
    [
        ("lanes_folder", "lanes_folder", "val/miou"),
        ("apolloscape_sample", "apolloscape67", "val/miou"),
        ("culane_sample", "culane60", "val/f1"),
    ],
)
def test_two_trials_on_real_frames(command: Command, tmp_path: Path, space: str, folder: str, metric: str) -> None:
    root = Path(os.environ.get("INTRA_SEARCH_REAL_DATA", "real-data")) / folder
    if not root.is_dir():
        pytest.skip(f"no data at {root}")
    study = str(tmp_path / "study")
    settings = [f"--set={setting}" for setting in (*SMALL, f"scenes.root={root}")]
    command.run("run", str(SPACES / f"{space}.toml"), "--study", study, *settings, timeout=280)
    status = command.json("status", study)
    assert status["trials"]["failed"] == 0
    assert status["finished"] == 2
    assert 0 <= status["best"]["objectives"][metric] <= 1
    assert command.json("evaluate", status["best"]["checkpoint"], "--split", "test")["scenes"] > 0
