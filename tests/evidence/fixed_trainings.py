"""Loss curves of three fixed trainings: teacher, student with every term, the same student on two workers.

Prints each epoch's numbers (seconds left out) and the hash of the final weights. A refactor prints the same text before
and after, to the bit, on one kind of CPU:

    make --silent curves > after.txt; diff before.txt after.txt
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from intra_search.config.study import StudySettings
from intra_search.distill.terms.table import TERMS
from intra_search.distill.workers import ALONE, Workers
from intra_search.store.ledger import checkpoint_name
from intra_search.training.job import TrainingJob, student_job, teacher_job
from intra_search.training.loop import Training
from intra_search.training.replicas import current_workers
from tests.distributed.two_processes import run_in_two
from tests.tiny_study import tiny_settings, write_roads

TIMES = ("seconds", "train_seconds")
NOT_OF_TERMS = {"kd": {"stride": 2}, "dist": {"stride": 2}, "skd": {"stride": 2}}


def settings_of(root: Path) -> StudySettings:
    """Every term is on with weight 0.1, balanced against the task's gradient; three schedules take turns."""
    schedules: tuple[dict[str, float], ...] = ({}, {"ramp": 0.1}, {"decay": 1.0})
    terms: dict[str, Any] = {
        name: {"weight": 0.1, **schedules[number % 3], **NOT_OF_TERMS.get(name, {})}
        for number, name in enumerate(TERMS)
    }
    return tiny_settings(root, knowledge={"mode": "live"}, distill={"balance_every": 3, **terms})


def numbers_of(job: TrainingJob, workers: Workers = ALONE) -> dict[str, Any]:
    """The history without its times, and a hash of the final weights."""
    training = Training(job, workers)
    while not training.finished:
        training.run_epoch()
    digest = hashlib.sha256()
    for name, tensor in sorted(training.network.state_dict().items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    rows = [{name: value for name, value in row.items() if name not in TIMES} for row in training.history]
    return {"history": rows, "weights": digest.hexdigest()}


def on_worker(rank: int, job: TrainingJob) -> dict[str, Any]:
    return numbers_of(job, current_workers())


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        roads, study = Path(scratch) / "roads", str(Path(scratch) / "study")
        write_roads(roads)
        settings = settings_of(roads)
        found = {"teacher": numbers_of(teacher_job(study, "teacher/t", 1, settings))}
        teacher = f"teacher/t/gen-1/{checkpoint_name(1)}"
        jobs = [
            student_job(study, trial, f"trials/{trial:05d}", 1, settings, knowledge=None, teacher=teacher)
            for trial in (0, 0)
        ]
        jobs[1] = jobs[1]._replace(folder="trials/00001")
        found["student"] = numbers_of(jobs[0])
        found["two workers"] = run_in_two(on_worker, Path(scratch), jobs[1])[0]
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
