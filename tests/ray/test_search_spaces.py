"""The benchmarks' search spaces, run at toy size on drawn data in their own layouts, through the command line.

(That every corner of every space is a valid setting is tested in tests/config/test_space.py, without a cluster.)
"""

import json
from pathlib import Path

import pytest

from intra_search.deploy.benchmark import HEADLINES
from intra_search.scenes.writers.formats import draw_data_set, draw_order
from tests.commands import Command, read_history

pytestmark = pytest.mark.ray

SPACES = Path(__file__).parents[2] / "search_spaces"
SIZES = {"apolloscape": (128, 256), "culane": (118, 328), "llamas": (717, 1276)}
TOY = {
    "scenes.height": 32,
    "scenes.width": 64,
    "scenes.views": 1,
    "teacher.network": "pspnet_resnet18",
    "teacher.options.head_channels": 8,
    "teacher.options.bins": [1, 2],
    "teacher.training.epochs": 1,
    "teacher.allow_weak": True,
    "teacher.training.batch_size": 2,
    "training.epochs": 1,
    "training.batch_size": 2,
    "training.amp": "off",  # as `evaluate` computes
    "search.num_trials": 2,
    "search.halving.enabled": False,
    "resources.workers": 1,
    "resources.loader_processes": 0,
    "resources.gpus_per_worker": 0,
}


@pytest.mark.parametrize("name", sorted(SIZES))
def test_a_search_over_drawn_data_ends_with_a_pick(command: Command, tmp_path: Path, name: str) -> None:
    draw_data_set(tmp_path / "data", name, draw_order(name, 10, 0, *SIZES[name]))
    overrides = {**TOY, "scenes.root": str(tmp_path / "data")}
    arguments = [part for path, value in overrides.items() for part in ("--set", f"{path}={json.dumps(value)}")]
    study = tmp_path / "study"
    output = command.run("run", str(SPACES / f"{name}.toml"), "--study", str(study), *arguments)
    assert "Pick: trial" in output
    status = command.json("status", str(study))
    assert status["finished"] == 2
    # The pick's submission files, and what the official metric says of them.
    out = tmp_path / "submission"
    scores = command.json("evaluate", status["best"]["checkpoint"], "--split", "val", "--out", str(out))
    metrics = HEADLINES[name]
    assert set(metrics.values()) <= set(scores["official"])
    assert any(path.is_file() for path in out.rglob("*"))
    # The best epoch is the best by the benchmark's own metric, and was validated as the files are scored.
    row = read_history(study, status["best"]["trial"])[0]
    assert status["best"]["objectives"] == {f"val/{next(iter(metrics))}": row[f"val/{next(iter(metrics))}"]}
    for metric, key in metrics.items():
        assert row[f"val/{metric}"] == pytest.approx(scores["official"][key], abs=1e-6)
    # Trial 0 is the paper's recipe, so both of its terms are in the history; lanes have their existence branch.
    terms = {"train/affinity", "train/attention", *({"train/existence"} if name != "apolloscape" else ())}
    assert terms <= set(read_history(study, 0)[0])
