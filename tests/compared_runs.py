"""A ledger of trainings that are compared, seed by seed: which to run next, and tables of the gains."""

import functools
import json
import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

import torch
from scipy.stats import t as student_t

TUNING_SEED = 100
"""The learning rate of every arm is chosen on this seed, which is not compared."""


class Run(NamedTuple):
    """One training."""

    case: str
    arm: str
    rate: float
    seed: int


class Ledger:
    """Scores by run, one line each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        self.scores = {Run(*row["run"]): float(row["score"]) for row in rows}

    def add(self, run: Run, value: float, machine: str) -> None:
        self.scores[run] = value
        row = {"run": run, "score": value, "commit": commit(), "torch": torch.__version__, "machine": machine}
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def best_rate(self, case: str, arm: str, rates: Sequence[float]) -> float:
        return max(rates, key=lambda rate: self.scores[Run(case, arm, rate, TUNING_SEED)])


class Queue:
    """Runs that the ledger lacks. An arm's seeds follow when its rate is known."""

    def __init__(
        self, ledger: Ledger, cases: Sequence[str], arms: Sequence[str], rates: Sequence[float], seeds: int
    ) -> None:
        self._ledger = ledger
        self._rates = rates
        self._seeds = seeds
        self._untuned = [(case, arm) for case in cases for arm in arms]
        self._cases = cases
        self._waiting = [Run(*pair, rate, TUNING_SEED) for pair in self._untuned for rate in rates]

    def next(self) -> Run | None:
        """The run to start now, if one can be started."""
        for pair in [pair for pair in self._untuned if self._tuned(*pair)]:
            self._untuned.remove(pair)
            rate = self._ledger.best_rate(*pair, self._rates)
            self._waiting += [Run(*pair, rate, seed) for seed in range(self._seeds)]
        self._waiting = [run for run in self._waiting if run not in self._ledger.scores]
        self._waiting.sort(key=lambda run: (self._cases.index(run.case), run.seed != TUNING_SEED))
        return self._waiting[0] if self._waiting else None

    def pop(self) -> Run:
        return self._waiting.pop(0)

    def _tuned(self, case: str, arm: str) -> bool:
        return all(Run(case, arm, rate, TUNING_SEED) in self._ledger.scores for rate in self._rates)


@functools.cache
def commit() -> str:
    described = ["git", "describe", "--always", "--dirty=+"]
    return os.environ.get("EVIDENCE_COMMIT") or subprocess.run(described, capture_output=True, text=True).stdout.strip()


def interval(differences: Sequence[float]) -> str:
    """Mean and 95 % interval of paired differences."""
    count = len(differences)
    if count < 2:
        return f"{mean(differences):+.4f}"
    half = float(student_t.ppf(0.975, count - 1)) * stdev(differences) / count**0.5
    return f"{mean(differences):+.4f} ± {half:.4f}"


def table(ledger: Ledger, case: str, arms: Iterable[str]) -> list[str]:
    """Markdown rows of one case: those arms that have a seed of the comparison."""
    lines = [
        "| arm | rate | seeds | val/miou | sd | gain over plain (paired, 95 %) | better in |",
        "|---|---|---|---|---|---|---|",
    ]
    by_arm = {arm: {} for arm in arms}  # type: dict[str, dict[int, float]]
    rates: dict[str, float] = {}
    for run, value in ledger.scores.items():
        if run.case == case and run.seed != TUNING_SEED:
            by_arm[run.arm][run.seed] = value
            rates[run.arm] = run.rate
    plain = by_arm["plain"]
    for arm, scores in by_arm.items():
        if not scores:
            continue
        values = list(scores.values())
        gaps = [value - plain[seed] for seed, value in scores.items() if seed in plain]
        gain = interval(gaps) if gaps and arm != "plain" else ""
        wins = f"{sum(gap > 0 for gap in gaps)} of {len(gaps)}" if gain else ""
        deviation = f"{stdev(values):.4f}" if len(values) > 1 else ""
        lines.append(f"| {arm} | {rates[arm]:g} | {len(values)} | {mean(values):.4f} | {deviation} | {gain} | {wins} |")
    return lines
