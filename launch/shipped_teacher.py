"""Trains the teacher that comes with the package and puts it in its place; `make teacher` runs this.

The training is a study's: repeated, the command goes on from the newest checkpoint, and a finished training is only
written out again. What is written is a checkpoint with weights in float16; its manifest holds settings, seed, scores,
and the commit at which the training began.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from intra_search.config.objectives import Objectives
from intra_search.config.study_file import load_study
from intra_search.networks.checkpoint import load_checkpoint, save_network
from intra_search.networks.shipped import FOLDER
from intra_search.store.ledger import find_checkpoint
from intra_search.store.storage import Storage
from intra_search.training.job import teacher_job
from intra_search.training.loop import Training

NAME = "drawn_roads"
RECIPE = Path(__file__).parents[1] / "search_spaces/drawn_teacher.toml"
HOME = "teacher"
ORIGIN = "origin.json"


def commit() -> str:
    """The checked out commit, with a + where files differ from it."""
    found = subprocess.run(["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def trained(storage: Storage) -> tuple[str, list[Any]]:
    """Path of the best epoch's checkpoint, and the history."""
    if not storage.exists(ORIGIN):
        storage.write_json(ORIGIN, {"commit": commit()})
    training = Training(teacher_job(storage.uri, HOME, 1, load_study(RECIPE).settings))
    while not training.finished:
        row = training.run_epoch()
        sys.stdout.write(f"epoch {row['epoch']}: val/miou {row['val/miou']:.4f}, {row['seconds']:.0f} s\n")
        sys.stdout.flush()
    best = Objectives.of(training.job.settings).best_epoch(training.history)
    return str(find_checkpoint(storage, HOME, best)), training.history


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="studies/shipped_teacher", help="folder of the training")
    parser.add_argument("--out", default=str(FOLDER), help="folder that the teacher's own is written to")
    options = parser.parse_args()
    storage = Storage(options.study)
    path, history = trained(storage)
    checkpoint = load_checkpoint(storage, path)
    about = {**checkpoint.about, **storage.read_json(ORIGIN), "history": history}
    out = Storage(options.out)
    out.delete(NAME)
    save_network(out, NAME, checkpoint.network, about)
    megabytes = sum(out.sizes(NAME).values()) / 1e6
    sys.stdout.write(f"{out.full_path(NAME)}: epoch {about['epoch']}, {megabytes:.2f} MB\n")


if __name__ == "__main__":
    main()
