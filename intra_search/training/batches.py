"""Which worker gets which views in which step, and the loaders that decode them."""

from collections.abc import Callable, Iterator, Mapping, Set
from functools import partial
from math import gcd
from typing import Any, Literal, NamedTuple, Protocol, TypedDict

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from intra_search.config.seeding import derived_seed
from intra_search.distill.unlabelled import CONFIDENCE, REGIONS, pseudo_labels
from intra_search.distill.workers import Workers
from intra_search.errors import ClusterError, IntraSearchError, SettingError
from intra_search.scenes.labels import IGNORED
from intra_search.scenes.scene_set import SceneSet, WholeFrame
from intra_search.scenes.unlabelled_set import UnlabelledScenes

BATCHES_AHEAD = 2
"""Batches that each loader process decodes ahead, in shared memory."""
FRESH_VIEWS = 2**62
"""How many fresh views there are to draw from: so many that none is drawn twice."""


class Batch(TypedDict):
    """One worker's share of a step."""

    images: Tensor
    """(B, 3, H, W) uint8."""
    labels: Tensor
    """(B, H, W) uint8: what the cross-entropy learns; 255 where a frame has no label, or pseudo-label."""
    regions: Tensor
    """(B, H, W) uint8: what the terms take as labels. For a frame without labels the teacher's classes, where its
    answers are stored; else 0 where the view shows the frame."""
    labelled: Tensor
    """(B,) bool: whether a frame has labels."""
    existence: Tensor
    """(B, L) float32: flags of existing lanes, -1 for a frame without labels; L is 0 for a data set without lanes."""
    answers: dict[str, Tensor]
    """The teacher's stored answers."""


class EvaluationBatch(NamedTuple):
    """Scenes to evaluate: images (B, 3, H, W) and labels (B, H, W), uint8, and their whole frames if asked for."""

    images: Tensor
    labels: Tensor
    frames: list[WholeFrame]


class AnswerReader(Protocol):
    """Stored knowledge; `knowledge.reader` implements it."""

    def answers(self, scene: int, view: int, keys: Set[str] | None = None) -> Mapping[str, Tensor]: ...


class ViewIndex(NamedTuple):
    """One view of one training scene, or of one frame without labels."""

    scene: int
    view: int
    labelled: bool = True
    keys: frozenset[str] | None = None
    """Keys of the needs whose stored answers are read; none: all."""


class Mix(NamedTuple):
    """How a training mixes frames without labels into its batches."""

    frames: int
    """Frames without labels in all."""
    in_batch: int
    """Of each batch."""


class Keys(NamedTuple):
    """Keys of the needs that a step asks about labelled frames and about frames without labels."""

    labelled: frozenset[str]
    unlabelled: frozenset[str]


class Unlabelled(NamedTuple):
    """Frames without labels, the teacher's stored answers about them, and the threshold of pseudo-labels."""

    scenes: UnlabelledScenes
    knowledge: AnswerReader | None
    pseudo_labels: float | None


class ViewOrder(Sampler[list[ViewIndex]]):
    """Deals each epoch's views to the workers: every scene once. Order and views depend on (seed, epoch) alone.

    The global batch of step s is the same for any number of workers; worker r takes its samples r, r + size, ...
    An incomplete last batch is dropped. In `num_views` epochs (a pass) each scene shows every view once: it starts at a
    random view and goes on by a random step that has no common divisor with `num_views`. The next pass draws both
    again. `fresh` draws one of 2 ** 62 views in each epoch.

    Frames without labels fill the rest of each batch: all of them in random order, then all again in another order and
    with other views, however many epochs that takes. A step that asks nothing about them gets none, unless some worker
    would then have no sample.

    Args:
        mix: the frames without labels; none: all are labelled.
        asks: keys that a step asks, by the share of the training that is done; none: all.
        epochs: of the whole training, for that share.
    """

    def __init__(
        self,
        num_scenes: int,
        num_views: int | Literal["fresh"],
        batch_size: int,
        seed: int,
        workers: Workers,
        *,
        mix: Mix | None = None,
        asks: Callable[[float], Keys] | None = None,
        epochs: int = 1,
    ) -> None:
        self._labelled = batch_size - (mix.in_batch if mix else 0)
        check_dealt(batch_size, self._labelled, num_scenes, workers.size)
        self.epoch = 0
        self._num_scenes = num_scenes
        self._num_views = num_views
        self._seed = seed
        self._workers = workers
        self._mix = mix
        self._asks = asks
        self._epochs = epochs

    def __len__(self) -> int:
        return self._num_scenes // self._labelled

    def __iter__(self) -> Iterator[list[ViewIndex]]:
        order = self._shuffled("order", self.epoch, self._num_scenes)
        views = self._views("views", self.epoch, self._num_scenes)
        unlabelled = self._unlabelled(self._mix) if self._mix else iter(())
        for step in range(len(self)):
            keys = self._asks((self.epoch + step / len(self)) / self._epochs) if self._asks else None
            scenes = order[step * self._labelled : (step + 1) * self._labelled]
            batch = [ViewIndex(scene, views[scene], True, keys and keys.labelled) for scene in scenes]
            others = [next(unlabelled) for _ in range(self._mix.in_batch if self._mix else 0)]
            if keys is None or keys.unlabelled or self._labelled < self._workers.size:
                batch += [ViewIndex(*other, False, keys and keys.unlabelled) for other in others]
            yield batch[self._workers.rank :: self._workers.size]

    def _unlabelled(self, mix: Mix) -> Iterator[tuple[int, int]]:
        """This epoch's frames without labels and their views: the epochs share one endless row of turns."""
        turn, place = divmod(self.epoch * len(self) * mix.in_batch, mix.frames)
        while True:
            order = self._shuffled("unlabelled order", turn, mix.frames)
            views = self._views("unlabelled views", turn, mix.frames)
            yield from ((frame, views[frame]) for frame in order[place:])
            turn, place = turn + 1, 0

    def _shuffled(self, purpose: str, epoch: int, count: int) -> list[int]:
        order: list[int] = torch.randperm(count, generator=self._generator(purpose, epoch)).tolist()
        return order

    def _views(self, purpose: str, epoch: int, count: int) -> list[int]:
        """The view of every scene in an epoch."""
        if self._num_views == "fresh":
            return torch.randint(FRESH_VIEWS, (count,), generator=self._generator(purpose, epoch)).tolist()
        walk, place = divmod(epoch, self._num_views)
        generator = self._generator(purpose, walk)
        start = torch.randint(self._num_views, (count,), generator=generator)
        steps = torch.tensor([step for step in range(1, self._num_views + 1) if gcd(step, self._num_views) == 1])
        step = steps[torch.randint(len(steps), (count,), generator=generator)]
        views: list[int] = ((start + place * step) % self._num_views).tolist()
        return views

    def _generator(self, purpose: str, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed(derived_seed(self._seed, purpose, epoch))


def check_dealt(batch_size: int, labelled: int, num_scenes: int, workers: int) -> None:
    """Raises `SettingError` for batches that cannot be dealt; `labelled` frames of each have labels."""
    if num_scenes < labelled:
        found = f"{batch_size} with {num_scenes} training scenes"
        raise SettingError("training.batch_size", "must not exceed the training scenes", found, "lower it")
    if batch_size < workers:
        found = f"{batch_size} with {workers} workers"
        raise SettingError("training.batch_size", "must give every worker a sample", found, "raise it")


class _Views(Dataset[Batch | IntraSearchError]):
    def __init__(
        self, scenes: SceneSet, knowledge: AnswerReader | None, seed: int, unlabelled: Unlabelled | None
    ) -> None:
        self._scenes = scenes
        self._knowledge = knowledge
        self._seed = seed
        self._unlabelled = unlabelled

    def __getitem__(self, index: ViewIndex) -> Batch | IntraSearchError:
        try:
            return self._view(index) if index.labelled else self._unlabelled_view(index)
        except IntraSearchError as error:
            return error

    def _view(self, index: ViewIndex) -> Batch:
        image, labels = self._scenes.view(index.scene, index.view, self._seed)
        existence = self._scenes.existence(index.scene, index.view, self._seed)
        answers = _answers(self._knowledge, index)
        return _sample(image, labels, labels, existence, answers, labelled=True)

    def _unlabelled_view(self, index: ViewIndex) -> Batch:
        assert self._unlabelled is not None
        scenes, knowledge, threshold = self._unlabelled
        image, regions = scenes.view(index.scene, index.view, self._seed)
        labels = torch.full_like(regions, IGNORED)
        answers = _answers(knowledge, index)
        if REGIONS.key in answers:
            regions = answers.pop(REGIONS.key).to(torch.uint8)
        if CONFIDENCE.key in answers and threshold is not None:
            labels = pseudo_labels(regions, answers.pop(CONFIDENCE.key), threshold)
        existence = torch.full((self._scenes.num_lanes,), -1.0)
        return _sample(image, labels, regions, existence, answers, labelled=False)


def _answers(knowledge: AnswerReader | None, index: ViewIndex) -> dict[str, Tensor]:
    return dict(knowledge.answers(index.scene, index.view, index.keys)) if knowledge else {}


def _sample(
    image: Tensor, labels: Tensor, regions: Tensor, existence: Tensor, answers: dict[str, Tensor], *, labelled: bool
) -> Batch:
    return {
        "images": image,
        "labels": labels,
        "regions": regions,
        "labelled": torch.tensor(labelled),
        "existence": existence,
        "answers": answers,
    }


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


class RaisingLoader(DataLoader[Any]):
    """Raises in the training process the errors that loader processes returned.

    Raises `ClusterError` when their batches do not fit into shared memory. torch tells it in words only: "unable to
    allocate shared memory" from a process that noticed, "Bus error ... out of shared memory" for one that did not.
    """

    def __iter__(self) -> Any:
        try:
            for batch in super().__iter__():
                if isinstance(batch, IntraSearchError):
                    raise batch
                yield batch
        except RuntimeError as error:
            if self.num_workers == 0 or "shared memory" not in str(error):
                raise
            rule, found = "need room in shared memory for the batches that they decode ahead", "too little in /dev/shm"
            remedy = "set it to 0, or give more: docker run --shm-size=2g"
            raise ClusterError("resources.loader_processes", rule, found, remedy) from None


def training_loader(
    scenes: SceneSet,
    order: ViewOrder,
    knowledge: AnswerReader | None,
    seed: int,
    *,
    num_processes: int,
    pin: bool,
    unlabelled: Unlabelled | None = None,
) -> DataLoader[Batch]:
    """Loads this worker's share of every step. `seed` draws the views and must be the study's seed.

    `num_processes` processes decode ahead; with 0 the training process decodes.
    """
    views = _Views(scenes, knowledge, seed, unlabelled)
    return RaisingLoader(
        views,
        batch_sampler=order,
        collate_fn=partial(_or_error, default_collate),
        num_workers=num_processes,
        persistent_workers=num_processes > 0,
        prefetch_factor=BATCHES_AHEAD if num_processes else None,
        pin_memory=pin,
    )


def evaluation_loader(
    scenes: SceneSet, batch_size: int, workers: Workers, *, num_processes: int, pin: bool, whole_frames: bool = False
) -> DataLoader[EvaluationBatch]:
    """Every scene exactly once over all workers: worker r takes scenes r, r + size, ... None is repeated.

    `whole_frames` adds the labels of the whole frames, which are decoded again in each pass."""
    return RaisingLoader(
        _Evaluations(scenes, whole_frames=whole_frames),
        collate_fn=partial(_or_error, _joined),
        batch_size=batch_size,
        sampler=range(workers.rank, len(scenes), workers.size),
        num_workers=num_processes,
        prefetch_factor=BATCHES_AHEAD if num_processes else None,
        pin_memory=pin,
    )
