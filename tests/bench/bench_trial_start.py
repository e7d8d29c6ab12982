"""Fixed cost of a one-worker trial: from its assignment to the start of its first training step.

Upper bound, taken in the driver: time from `TrialLaunched` to the first report, less the seconds that the epoch itself
took. The rival is the first trial of the same run, which starts a process and imports torch.

    python tests/bench/bench_trial_start.py
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from intra_search.config.study_file import load_study
from intra_search.store.events import Event, TrialLaunched, TrialReported
from intra_search.study.run import run_study
from tests.commands import write_study
from tests.tiny_study import write_roads

NUM_TRIALS = 12
GOAL_SECONDS = 1.0


class Stopwatch:
    """Notes when each trial is launched and when it first reports."""

    def __init__(self) -> None:
        self._launched: dict[int, float] = {}
        self.fixed_costs: dict[int, float] = {}

    def __call__(self, event: Event) -> None:
        now = time.perf_counter()
        if isinstance(event, TrialLaunched):
            self._launched[event.record.trial] = now
        elif isinstance(event, TrialReported) and event.record.trial not in self.fixed_costs:
            launched = self._launched[event.record.trial]
            self.fixed_costs[event.record.trial] = now - launched - event.history[0]["seconds"]


def measure(**groups: object) -> dict[int, float]:
    """Seconds by trial for a study of tiny roads."""
    with tempfile.TemporaryDirectory() as folder:
        write_roads(Path(folder) / "roads")
        file = write_study(Path(folder) / "study.toml", Path(folder) / "roads", **groups)
        stopwatch = Stopwatch()
        run_study(f"{folder}/study", load_study(file), stopwatch, address=None, takeover=False)
        return stopwatch.fixed_costs


def main() -> None:
    search = {"num_trials": NUM_TRIALS, "max_concurrent": 1, "halving": {"enabled": False}}
    costs = measure(training={"epochs": 1, "batch_size": 2}, search=search)
    first, *later = [costs[trial] for trial in sorted(costs)]
    median = statistics.median(later)
    print(f"first trial, in a new process: {first:.2f} s")
    print(
        f"{len(later)} later trials: median {median:.2f} s, largest {max(later):.2f} s (goal: at most {GOAL_SECONDS} s)"
    )
    print(f"ratio to a trial in a new process: {median / first:.3f}")


if __name__ == "__main__":
    main()
