"""Seconds of a training step with stored answers and with a live teacher, measured with the study's own settings."""

import functools
import math
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from intra_search.distill.needs import Need, teacher_answers
from intra_search.distill.unlabelled import asked_of
from intra_search.knowledge.answering import stored_forms
from intra_search.knowledge.shards import open_shard, write_shard
from intra_search.networks.input import normalise
from intra_search.networks.timing import quickest
from intra_search.training.batches import Batch
from intra_search.training.job import TrainingJob
from intra_search.training.loop import Training

SECONDS_PER_TIMING = 1.0
"""A step is repeated until its runs took this long together; a slower step runs once."""
PROGRESS_STEPS = 20
"""Shares of a training at which it is looked what is asked of the teacher."""


class ViewCosts(NamedTuple):
    """Seconds per view, without decoding, which takes the same time with stored answers and with a live teacher."""

    stored_step: float
    """A training step whose answers are read from a mapped file."""
    live_step: float
    """A training step that asks the teacher."""
    extraction: float
    """The teacher's answers to all needs of the search space."""


def measure_costs(job: TrainingJob, needs: Iterable[Need], *, use_gpu: bool) -> ViewCosts:
    """Times a few steps of a trial on its first batch. Writes nothing into the study.

    Args:
        job: a trial that distils from a live teacher.
        needs: those of all trials: an extraction answers them together.
    """
    return _TimedTraining(job, use_gpu=use_gpu).costs(frozenset(needs))


class _TimedTraining(Training):
    def costs(self, needs: frozenset[Need]) -> ViewCosts:
        progress = self._busiest()
        batch = self._batch(progress)
        size = len(batch["images"])
        self._step.train()
        timed = functools.partial(quickest, device=self._place.device, budget=SECONDS_PER_TIMING)
        live = timed(lambda: self._train_step(batch, progress))
        answers: dict[str, Tensor] = {}
        extraction = timed(lambda: answers.update(self._answers(batch, needs)))
        self._teacher = None
        asked = asked_of(self.job.settings, progress)
        with tempfile.TemporaryDirectory(dir=self._folder_to_map()) as folder:
            stored = _MappedAnswers(Path(folder), answers, needs, asked.labelled | asked.unlabelled)
            step = timed(lambda: self._train_step({**batch, "answers": stored.read()}, progress))
        return ViewCosts(step / size, live / size, extraction / size)

    def _busiest(self) -> float:
        """The share of a training at which most is asked of the teacher: terms may begin late or end early."""
        asked = [asked_of(self.job.settings, share / PROGRESS_STEPS) for share in range(PROGRESS_STEPS)]
        return max(range(PROGRESS_STEPS), key=lambda share: len(asked[share].labelled)) / PROGRESS_STEPS

    def _batch(self, progress: float) -> Batch:
        """A batch of that time. On a CPU two of its views, one of each kind: there the time per view is the same, and
        may be seconds."""
        epochs = self.job.training.epochs
        self._order.epoch = min(math.ceil(progress * epochs), epochs - 1)
        batch: Batch = next(iter(self._loader))
        if self._place.device.type == "cuda":
            return batch
        rows = torch.tensor([0, len(batch["images"]) - 1])
        return {
            "images": batch["images"][rows],
            "labels": batch["labels"][rows],
            "regions": batch["regions"][rows],
            "labelled": batch["labelled"][rows],
            "existence": batch["existence"][rows],
            "answers": {},
        }

    @torch.no_grad()
    def _answers(self, batch: Batch, needs: frozenset[Need]) -> dict[str, Tensor]:
        assert self._teacher is not None
        with self._teacher_place.autocast():
            output = self._teacher(normalise(self._place.images(batch["images"])))
        answers = teacher_answers(needs, output, self._place.labels(batch["regions"]), self._recipe.num_classes)
        return {key: answer.cpu() for key, answer in answers.items()}

    def _folder_to_map(self) -> str | None:
        """Where the answers are stored for the timing: in the study, or on this machine if the study is remote."""
        return self._storage.full_path() if self._storage.is_local else None


class _MappedAnswers:
    """A batch's answers in a shard; the trial reads from it what it needs."""

    def __init__(
        self, folder: Path, answers: dict[str, Tensor], stored: frozenset[Need], read: frozenset[Need]
    ) -> None:
        path = folder / "timing.arrow"
        with path.open("wb") as file:
            write_shard(file, [answers], functools.partial(stored_forms, stored), {})
        self._columns = open_shard(str(path), {need.key for need in read}, {})
        self._rows = range(len(next(iter(answers.values()))))

    def read(self) -> dict[str, Tensor]:
        return {name: torch.stack([column.row(row) for row in self._rows]) for name, column in self._columns.items()}
