"""The two-worker training that `bench_group_start.py` starts with torchrun: prints the time of its first step."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch.distributed as dist

from intra_search.config.study_file import load_study
from intra_search.training.job import student_job
from intra_search.training.loop import Training
from intra_search.training.replicas import current_workers


def main() -> None:
    dist.init_process_group("gloo")
    settings = load_study(sys.argv[1], ["distill.enabled=false"]).settings
    training = Training(
        student_job(sys.argv[2], 0, "trials/00000", 1, settings, knowledge=None, teacher=""), current_workers()
    )
    started = time.time()  # the epoch's first step begins here
    training.run_epoch()
    if dist.get_rank() == 0:
        print(f"first step at {started}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
