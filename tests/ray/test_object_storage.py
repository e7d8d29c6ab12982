"""A whole study on object storage."""

import os
from pathlib import Path

import pytest

from tests.commands import Command, write_study

pytestmark = pytest.mark.ray


def test_a_study_on_s3(command: Command, roads: Path, tmp_path: Path, bucket: str) -> None:
    study = bucket.format("study")
    credentials = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    file = write_study(tmp_path / "study.toml", roads, training={"epochs": 2, "batch_size": 2})
    there = Command(command.environment["RAY_TMPDIR"])
    there.environment.update(credentials)
    assert "Pick: trial" in there.run("run", str(file), "--study", study)
    assert there.json("status", study)["finished"] == 2
    best = there.json("best", study)
    assert best["checkpoint"].startswith("s3://")
    scores = there.json("evaluate", best["checkpoint"], "--split", "val")
    assert scores["miou"] == pytest.approx(best["objectives"]["val/miou"], abs=1e-6)
