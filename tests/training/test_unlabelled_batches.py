"""Frames without labels in batches: the order against one written from its description, and what a sample holds."""

from collections.abc import Mapping, Set
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from intra_search.distill.workers import ALONE
from intra_search.scenes.scene_set import open_scenes
from intra_search.scenes.unlabelled_set import open_unlabelled
from intra_search.training.batches import Keys, Mix, Unlabelled, ViewIndex, ViewOrder, training_loader
from tests.tiny_study import HEIGHT, WIDTH, tiny_settings

ALL = frozenset({"a"})


def dealt(
    epoch: int,
    *,
    scenes: int = 7,
    frames: int = 5,
    batch: int = 4,
    in_batch: int = 2,
    workers: int = 1,
    rank: int = 0,
    keys: Keys | None = None,
) -> list[list[ViewIndex]]:
    order = ViewOrder(
        scenes,
        3,
        batch,
        seed=5,
        workers=ALONE._replace(rank=rank, size=workers),
        mix=Mix(frames, in_batch),
        asks=None if keys is None else lambda progress: keys,
        epochs=10,
    )
    order.epoch = epoch
    return list(order)


@given(st.integers(1, 12), st.integers(1, 9), st.integers(1, 3), st.integers(0, 5))
def test_turns_hold_every_frame_once_and_epochs_go_on_where_the_last_one_ended(
    scenes: int, frames: int, in_batch: int, epochs: int
) -> None:
    batch = in_batch + 1
    shown: list[int] = []
    for epoch in range(epochs):
        batches = dealt(epoch, scenes=scenes, frames=frames, batch=batch, in_batch=in_batch)
        assert sorted(view.scene for step in batches for view in step if view.labelled) == list(range(scenes))
        assert all([view.labelled for view in step] == [True] + [False] * in_batch for step in batches)
        shown += [view.scene for step in batches for view in step if not view.labelled]
    for turn in range(0, len(shown) - frames + 1, frames):
        assert sorted(shown[turn : turn + frames]) == list(range(frames))


def test_each_turn_shows_other_views_until_all_were_shown() -> None:
    """Three views: in three turns each frame is shown once with each."""
    views = [view for epoch in range(20) for step in dealt(epoch, frames=6) for view in step if not view.labelled]
    assert sorted((view.scene, view.view) for view in views[:18]) == [(f, v) for f in range(6) for v in range(3)]


@given(st.integers(1, 4), st.integers(0, 3))
def test_the_global_batch_is_the_same_for_any_number_of_workers(workers: int, epoch: int) -> None:
    alone = dealt(epoch)
    shares = [dealt(epoch, workers=workers, rank=rank) for rank in range(workers)]
    for step, whole in enumerate(alone):
        assert [shares[place % workers][step][place // workers] for place in range(4)] == whole


def test_labelled_scenes_come_as_without_frames() -> None:
    plain = ViewOrder(7, 3, 2, seed=5, workers=ALONE)
    assert [[view for view in step if view.labelled] for step in dealt(0)] == list(plain)


def test_steps_that_ask_nothing_about_them_hold_none_and_later_ones_go_on_in_the_same_order() -> None:
    order = ViewOrder(
        8,
        3,
        4,
        seed=5,
        workers=ALONE,
        mix=Mix(5, 2),
        asks=lambda progress: Keys(ALL, ALL if progress >= 0.5 else frozenset()),
        epochs=1,
    )
    found, always = list(order), dealt(0, scenes=8)
    assert [len(step) for step in found] == [2, 2, 4, 4]
    without_keys = [[view._replace(keys=None) for view in step] for step in found]
    assert without_keys[2:] == always[2:]
    assert without_keys[:2] == [step[:2] for step in always[:2]]


def test_no_worker_is_left_without_a_sample() -> None:
    keys = Keys(frozenset(), frozenset())
    shares = [dealt(0, batch=3, in_batch=2, workers=2, rank=rank, keys=keys) for rank in range(2)]
    assert all(len(step) for share in shares for step in share)


class Answers:
    """A store whose teacher sees class 1 in the upper half, surely on the left."""

    def answers(self, scene: int, view: int, keys: Set[str] | None = None) -> Mapping[str, Tensor]:
        regions = torch.zeros(HEIGHT, WIDTH)
        regions[: HEIGHT // 2] = 1
        confidence = torch.full((HEIGHT, WIDTH), 0.5)
        confidence[:, : WIDTH // 2] = 0.9
        found = {"graph": torch.tensor([float(scene)]), "regions": regions, "confidence": confidence}
        return {key: value for key, value in found.items() if keys is None or key in keys}


def test_a_batch_holds_what_each_kind_of_frame_teaches(roads: Path) -> None:
    settings = tiny_settings(roads, scenes={"unlabelled": ["synthetic:3"]})
    train, frames = open_scenes(settings.scenes, "train"), open_unlabelled(settings.scenes)
    assert frames is not None
    asked = Keys(frozenset({"graph"}), frozenset({"graph", "regions", "confidence"}))
    order = ViewOrder(len(train), 2, 2, seed=1, workers=ALONE, mix=Mix(3, 1), asks=lambda progress: asked)
    store = Answers()
    loader = training_loader(
        train, order, store, 0, num_processes=0, pin=False, unlabelled=Unlabelled(frames, store, 0.75)
    )
    (labelled, other), batch = next(iter(order)), next(iter(loader))
    assert batch["labelled"].tolist() == [True, False]
    assert batch["answers"]["graph"].flatten().tolist() == [labelled.scene, other.scene]
    assert set(batch["answers"]) == {"graph"}
    own = train.view(labelled.scene, labelled.view, 0)
    assert bool((batch["labels"][0] == own.labels).all())
    assert bool((batch["regions"][0] == own.labels).all())
    assert batch["labels"].dtype == batch["regions"].dtype == torch.uint8
    upper, left = slice(0, HEIGHT // 2), slice(0, WIDTH // 2)
    assert batch["regions"][1].unique().tolist() == [0, 1]
    assert bool((batch["regions"][1][upper] == 1).all())
    assert bool((batch["labels"][1][upper, left] == 1).all())
    assert bool((batch["labels"][1][:, WIDTH // 2 :] == 255).all())
    assert bool((batch["images"][1] == frames.view(other.scene, other.view, 0).image).all())


@pytest.mark.parametrize("processes", [0, 1])
def test_a_damaged_frame_is_named_by_the_loader(roads: Path, tmp_path: Path, processes: int) -> None:
    from intra_search.errors import SceneError

    (tmp_path / "a.png").write_bytes(b"no image")
    settings = tiny_settings(roads, scenes={"unlabelled": [str(tmp_path)]})
    train, frames = open_scenes(settings.scenes, "train"), open_unlabelled(settings.scenes)
    assert frames is not None
    order = ViewOrder(len(train), 2, 2, seed=1, workers=ALONE, mix=Mix(1, 1))
    loader = training_loader(
        train, order, None, 0, num_processes=processes, pin=False, unlabelled=Unlabelled(frames, None, None)
    )
    with pytest.raises(SceneError, match=r"a\.png: must be a whole image"):
        next(iter(loader))
