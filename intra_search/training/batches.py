"""Which worker gets which views in which step, and the loaders that decode them."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import gcd
from typing import Any, Literal, NamedTuple, Protocol, TypedDict

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from intra_search.config.seeding import derived_seed
from intra_search.distill.workers import Workers
from intra_search.errors import IntraSearchError, SettingError
from intra_search.scenes.scene_set import SceneSet, WholeFrame

FRESH_VIEWS = 2**62
"""How many fresh views there are to draw from: so many that none is drawn twice."""


class Batch(TypedDict):
    """One worker's share of a step: images (B, 3, H, W) uint8, labels (B, H, W) uint8, flags of existing lanes (B, L)
    float32 (L is 0 for a data set without lanes), the teacher's stored answers."""

    images: Tensor
    labels: Tensor
    existence: Tensor
    answers: dict[str, Tensor]


class EvaluationBatch(NamedTuple):
    """Scenes to evaluate: images (B, 3, H, W) and labels (B, H, W), uint8, and their whole frames if asked for."""

    images: Tensor
    labels: Tensor
    frames: list[WholeFrame]


class AnswerReader(Protocol):
    """Stored knowledge; `knowledge.reader` implements it."""

    def answers(self, scene: int, view: int) -> Mapping[str, Tensor]: ...


class ViewIndex(NamedTuple):
    """One view of one training scene."""

    scene: int
    view: int


class ViewOrder(Sampler[list[ViewIndex]]):
    """Deals each epoch's views to the workers: every scene once. Order and views depend on (seed, epoch) alone.

    The global batch of step s is the same for any number of workers; worker r takes its samples r, r + size, ...
    An incomplete last batch is dropped. In `num_views` epochs (a pass) each scene shows every view once: it starts at a
    random view and goes on by a random step that has no common divisor with `num_views`. The next pass draws both
    again. `fresh` draws one of 2 ** 62 views in each epoch.
    """

    def __init__(
        self, num_scenes: int, num_views: int | Literal["fresh"], batch_size: int, seed: int, workers: Workers
    ) -> None:
        if num_scenes < batch_size:
            found = f"{batch_size} with {num_scenes} training scenes"
            raise SettingError("training.batch_size", "must not exceed the training scenes", found, "lower it")
        if batch_size < workers.size:
            found = f"{batch_size} with {workers.size} workers"
            raise SettingError("training.batch_size", "must give every worker a sample", found, "raise it")
        self.epoch = 0
        self._num_scenes = num_scenes
        self._num_views = num_views
        self._batch_size = batch_size
        self._seed = seed
        self._workers = workers

    def __len__(self) -> int:
        return self._num_scenes // self._batch_size

    def __iter__(self) -> Iterator[list[ViewIndex]]:
        order = torch.randperm(self._num_scenes, generator=self._generator("order", self.epoch)).tolist()
        views = self._views()
        for step in range(len(self)):
            dealt = order[step * self._batch_size : (step + 1) * self._batch_size][
                self._workers.rank :: self._workers.size
            ]
            yield [ViewIndex(scene, views[scene]) for scene in dealt]

    def _views(self) -> list[int]:
        """This epoch's view of every scene."""
        count = self._num_scenes
        if self._num_views == "fresh":
            return torch.randint(FRESH_VIEWS, (count,), generator=self._generator("views", self.epoch)).tolist()
        walk, place = divmod(self.epoch, self._num_views)
        generator = self._generator("views", walk)
        start = torch.randint(self._num_views, (count,), generator=generator)
        steps = torch.tensor([step for step in range(1, self._num_views + 1) if gcd(step, self._num_views) == 1])
        step = steps[torch.randint(len(steps), (count,), generator=generator)]
        views: list[int] = ((start + place * step) % self._num_views).tolist()
        return views

    def _generator(self, purpose: str, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed(derived_seed(self._seed, purpose, epoch))


class _Views(Dataset[Batch | IntraSearchError]):
    def __init__(self, scenes: SceneSet, knowledge: AnswerReader | None, seed: int) -> None:
        self._scenes = scenes
        self._knowledge = knowledge
        self._seed = seed

    def __getitem__(self, index: ViewIndex) -> Batch | IntraSearchError:
        try:
            return self._view(index)
        except IntraSearchError as error:
            return error

    def _view(self, index: ViewIndex) -> Batch:
        image, labels = self._scenes.view(index.scene, index.view, self._seed)
        answers = dict(self._knowledge.answers(index.scene, index.view)) if self._knowledge else {}
        existence = self._scenes.existence(index.scene, index.view, self._seed)
        return {"images": image, "labels": labels, "existence": existence, "answers": answers}


class _Evaluations(Dataset[EvaluationBatch | IntraSearchError]):
    """Batches of one scene each."""

    def __init__(self, scenes: SceneSet, *, whole_frames: bool) -> None:
        self._scenes = scenes
        self._whole_frames = whole_frames

    def __getitem__(self, index: int) -> EvaluationBatch | IntraSearchError:
        try:
            image, labels = self._scenes.evaluation(index)
            frames = [self._scenes.whole_frame(index)] if self._whole_frames else []
        except IntraSearchError as error:
            return error
        return EvaluationBatch(image.unsqueeze(0), labels.unsqueeze(0), frames)


def _joined(parts: list[EvaluationBatch]) -> EvaluationBatch:
    frames = [frame for part in parts for frame in part.frames]  # not stacked: frames may differ in size
    return EvaluationBatch(
        torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]), frames
    )


def _or_error(collate: Callable[[list[Any]], Any], samples: list[Any]) -> Any:
    """A batch, or the first error among its samples. An error raised in a loader process would arrive as text only."""
    errors = [sample for sample in samples if isinstance(sample, IntraSearchError)]
    return errors[0] if errors else collate(samples)


class _RaisingLoader(DataLoader[Any]):
    """Raises in the training process the errors that loader processes returned."""

    def __iter__(self) -> Any:
        for batch in super().__iter__():
            if isinstance(batch, IntraSearchError):
                raise batch
            yield batch


def training_loader(
    scenes: SceneSet, order: ViewOrder, knowledge: AnswerReader | None, seed: int, *, num_processes: int, pin: bool
) -> DataLoader[Batch]:
    """Loads this worker's share of every step. `seed` draws the views and must be the study's seed.

    `num_processes` processes decode ahead; with 0 the training process decodes.
    """
    views = _Views(scenes, knowledge, seed)
    return _RaisingLoader(
        views,
        batch_sampler=order,
        collate_fn=partial(_or_error, default_collate),
        num_workers=num_processes,
        persistent_workers=num_processes > 0,
        pin_memory=pin,
    )


def evaluation_loader(
    scenes: SceneSet, batch_size: int, workers: Workers, *, num_processes: int, pin: bool, whole_frames: bool = False
) -> DataLoader[EvaluationBatch]:
    """Every scene exactly once over all workers: worker r takes scenes r, r + size, ... None is repeated.

    `whole_frames` adds the labels of the whole frames, which are decoded again in each pass."""
    return _RaisingLoader(
        _Evaluations(scenes, whole_frames=whole_frames),
        collate_fn=partial(_or_error, _joined),
        batch_size=batch_size,
        sampler=range(workers.rank, len(scenes), workers.size),
        num_workers=num_processes,
        pin_memory=pin,
    )
