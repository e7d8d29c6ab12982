"""Fixed cost of a two-worker trial, from its assignment to its first step, beside plain torchrun in the same run.

python tests/bench/bench_group_start.py
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.bench.bench_trial_start import measure
from tests.commands import write_study
from tests.tiny_study import write_roads

RESOURCES = {"workers": 2, "cpus_per_worker": 0.9}
TRAINING = {"epochs": 1, "batch_size": 2}
SCRIPT = Path(__file__).parent / "group_training.py"


def torchrun_seconds() -> float:
    """From the command to the first step of the same training, two processes."""
    with tempfile.TemporaryDirectory() as folder:
        write_roads(Path(folder) / "roads")
        file = write_study(Path(folder) / "study.toml", Path(folder) / "roads", training=TRAINING)
        call = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29417"]
        started = time.time()
        done = subprocess.run(
            [*call, str(SCRIPT), str(file), f"{folder}/study"], capture_output=True, text=True, check=True
        )
        found = re.search(r"first step at ([\d.]+)", done.stdout)
        assert found is not None, done.stdout
        return float(found[1]) - started


def main() -> None:
    plain = torchrun_seconds()
    search = {"num_trials": 2, "halving": {"enabled": False}}
    costs = measure(training=TRAINING, search=search, resources=RESOURCES)
    print(f"torchrun, two processes: {plain:.1f} s to the first step")
    for trial, seconds in sorted(costs.items()):
        print(f"trial {trial}, two Ray Train workers: {seconds:.1f} s, {seconds / plain:.1f} times torchrun")


if __name__ == "__main__":
    main()
