"""What a step costs with stored answers and with a live teacher: timed on the spot, with this study's own parts."""

import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from intra_search.distill.needs import Need, teacher_answers
from intra_search.distill.objective import needs_of
from intra_search.networks.input import normalise
from intra_search.training.batches import Batch
from intra_search.training.job import TrainingJob
from intra_search.training.loop import Training

SECONDS_PER_TIMING = 1.0
"""A step is repeated for so long, and at least once after a first one that warms up."""


class ViewCosts(NamedTuple):
    """Seconds per view, without decoding, which both ways pay alike."""

    stored_step: float
    """A training step whose answers are read from a mapped file."""
    live_step: float
    """A training step that asks the teacher."""
    extraction: float
    """All answers that the whole space needs."""


def measure_costs(job: TrainingJob, needs: Iterable[Need], *, use_gpu: bool) -> ViewCosts:
    """Times a few steps of a trial on its first batch. Nothing is kept; the job's study is only read.

    Args:
        job: of a distilling trial with a live teacher.
        needs: of all trials, which an extraction answers at once.
    """
    return _TimedTraining(job, use_gpu=use_gpu).costs(frozenset(needs))


class _TimedTraining(Training):
    def costs(self, needs: frozenset[Need]) -> ViewCosts:
        batch = self._batch()
        size = len(batch["images"])
        self._step.train()
        live = self._seconds(lambda: self._train_step(batch, 0.0))
        answers: dict[str, Tensor] = {}
        extraction = self._seconds(lambda: answers.update(self._answers(batch, needs)))
        self._teacher = None
        with tempfile.TemporaryDirectory(dir=self._folder_to_map()) as folder:
            stored = _MappedAnswers(Path(folder), answers, needs_of(self.job.settings.distill))
            step = self._seconds(lambda: self._train_step({**batch, "answers": stored.read()}, 0.0))
        return ViewCosts(step / size, live / size, extraction / size)

    def _batch(self) -> Batch:
        """The first batch; of it two views on a CPU, whose time per view is the same and may be seconds."""
        batch: Batch = next(iter(self._loader))
        if self._place.device.type == "cuda":
            return batch
        images, labels, existence = batch["images"][:2], batch["labels"][:2], batch["existence"][:2]
        return {"images": images, "labels": labels, "existence": existence, "answers": {}}

    @torch.no_grad()
    def _answers(self, batch: Batch, needs: frozenset[Need]) -> dict[str, Tensor]:
        assert self._teacher is not None
        with self._place.autocast():
            output = self._teacher(normalise(self._place.images(batch["images"])))
        answers = teacher_answers(needs, output, self._place.labels(batch["labels"]), self._recipe.num_classes)
        return {key: answer.cpu() for key, answer in answers.items()}

    def _folder_to_map(self) -> str | None:
        """Where stored answers are mapped: in the study, or on this machine where it cannot be mapped."""
        return self._storage.full_path() if self._storage.is_local else None

    def _seconds(self, step: Callable[[], object]) -> float:
        """The quickest of some runs; one run alone where the first takes longer than all may."""
        taken: list[float] = []
        while not taken or (len(taken) < 2 and taken[0] < SECONDS_PER_TIMING) or sum(taken) < SECONDS_PER_TIMING:
            started = time.perf_counter()
            step()
            if self._place.device.type == "cuda":
                torch.cuda.synchronize(self._place.device)
            taken.append(time.perf_counter() - started)
        return min(taken)


class _MappedAnswers:
    """A batch's answers in files as large as theirs in a shard, read as a shard is: each view's copied from a map."""

    def __init__(self, folder: Path, answers: dict[str, Tensor], needs: Iterable[Need]) -> None:
        keys = {need.key for need in needs}
        wanted = [key for key in answers if key in keys or key.rpartition("/")[0] in keys]
        self._files = {key: folder / f"{number}.npy" for number, key in enumerate(wanted)}
        for key, file in self._files.items():
            np.save(file, answers[key].numpy())

    def read(self) -> dict[str, Tensor]:
        mapped = {key: np.load(file, mmap_mode="r") for key, file in self._files.items()}
        return {key: torch.stack([torch.from_numpy(np.array(row)) for row in rows]) for key, rows in mapped.items()}
