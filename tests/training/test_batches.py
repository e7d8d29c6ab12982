"""Which view goes where: worked out by hand and as properties."""

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import Dataset

from intra_search.config.training import TrainingSettings
from intra_search.distill.workers import ALONE
from intra_search.errors import ClusterError, SettingError
from intra_search.training.batches import RaisingLoader, ViewIndex, ViewOrder
from intra_search.training.optimizer import learning_rate


def dealt(
    world_size: int, epoch: int = 0, scenes: int = 11, views: int = 3, batch: int = 4
) -> list[list[list[ViewIndex]]]:
    """Batches by worker and step."""
    shares = []
    for rank in range(world_size):
        order = ViewOrder(scenes, views, batch, seed=5, workers=ALONE._replace(rank=rank, size=world_size))
        order.epoch = epoch
        shares.append(list(order))
    return shares


@given(st.integers(1, 4), st.integers(0, 3))
def test_the_global_batch_is_the_same_for_any_number_of_workers(world_size: int, epoch: int) -> None:
    alone = dealt(1, epoch)[0]
    shares = dealt(world_size, epoch)
    for step, whole in enumerate(alone):
        assert sorted(view for share in shares for view in share[step]) == sorted(whole)
        assert [shares[place % world_size][step][place // world_size] for place in range(4)] == whole


def test_every_scene_is_dealt_at_most_once_and_the_ragged_batch_dropped() -> None:
    batches = dealt(1)[0]
    assert [len(batch) for batch in batches] == [4, 4]
    scenes = [view.scene for batch in batches for view in batch]
    assert len(set(scenes)) == 8


def test_as_many_epochs_as_views_show_every_view_once() -> None:
    seen = [view for epoch in range(3) for batch in dealt(1, epoch, scenes=8)[0] for view in batch]
    assert sorted(seen) == [ViewIndex(scene, view) for scene in range(8) for view in range(3)]


def walked(seed: int, epochs: range, views: int | Literal["fresh"], scenes: int = 40) -> list[list[int]]:
    """Views by epoch and scene."""
    order = ViewOrder(scenes, views, 1, seed=seed, workers=ALONE)
    found = []
    for epoch in epochs:
        order.epoch = epoch
        dealt = {scene: view for ((scene, view, _, _),) in order}
        found.append([dealt[scene] for scene in range(scenes)])
    return found


@pytest.mark.parametrize("views", [1, 2, 5, 6, 16])
def test_every_pass_shows_every_view_once_and_passes_differ(views: int) -> None:
    passes = [walked(3, range(turn * views, (turn + 1) * views), views) for turn in range(3)]
    for shown in passes:
        assert all(sorted(epoch[scene] for epoch in shown) == list(range(views)) for scene in range(40))
    if views > 1:
        assert passes[0] != passes[1] != passes[2]
        assert walked(4, range(views), views) != passes[0]


def test_scenes_do_not_walk_in_step() -> None:
    """Two scenes that meet in one epoch at the same view do not stay together for the whole pass."""
    shown = walked(3, range(16), 16)
    walks = {tuple((epoch[scene] - shown[0][scene]) % 16 for epoch in shown) for scene in range(40)}
    assert len(walks) == 8  # the steps coprime to 16


def test_fresh_views_never_come_again_and_are_a_function_of_seed_and_epoch() -> None:
    first = walked(3, range(5), "fresh")
    numbers = [view for epoch in first for view in epoch] + [
        view for epoch in walked(4, range(5), "fresh") for view in epoch
    ]
    assert len(set(numbers)) == 2 * 5 * 40
    assert walked(3, range(4, 5), "fresh") == first[4:]
    assert max(numbers) > 2**55


def test_orders_differ_between_epochs_and_seeds() -> None:
    assert dealt(1, 0) != dealt(1, 1)
    first = list(ViewOrder(11, 3, 4, seed=5, workers=ALONE))
    assert first != list(ViewOrder(11, 3, 4, seed=6, workers=ALONE))
    assert first == list(ViewOrder(11, 3, 4, seed=5, workers=ALONE))


def test_batches_that_cannot_be_dealt_are_refused() -> None:
    with pytest.raises(SettingError, match="must not exceed the training scenes, found 8 with 4"):
        ViewOrder(4, 1, 8, seed=0, workers=ALONE)
    with pytest.raises(SettingError, match="must give every worker a sample, found 2 with 3 workers"):
        ViewOrder(4, 1, 2, seed=0, workers=ALONE._replace(size=3))


def test_poly_schedule_by_hand() -> None:
    by_step = TrainingSettings(epochs=4, learning_rate=0.1, poly_power=2.0)
    assert learning_rate(by_step, epoch=0, step=0, steps_per_epoch=10) == pytest.approx(0.1)
    assert learning_rate(by_step, epoch=1, step=5, steps_per_epoch=10) == pytest.approx(0.1 * (1 - 1.5 / 4) ** 2)
    by_epoch = TrainingSettings(epochs=4, learning_rate=0.1, poly_power=2.0, schedule_step="epoch")
    assert learning_rate(by_epoch, epoch=1, step=5, steps_per_epoch=10) == pytest.approx(0.1 * 0.75**2)
    constant = TrainingSettings(epochs=4, learning_rate=0.1, poly_power=0.0)
    assert learning_rate(constant, epoch=3, step=9, steps_per_epoch=10) == pytest.approx(0.1)


class _Full(Dataset[Tensor]):
    """Scenes whose batches find no shared memory, as torch says it in a loader process."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Tensor:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")


def test_loader_processes_without_shared_memory() -> None:
    with pytest.raises(ClusterError, match=r"resources.loader_processes: need room in shared memory"):
        next(iter(RaisingLoader(_Full(), num_workers=1)))
    with pytest.raises(RuntimeError, match="unable to allocate"):  # no loader process, so something else is wrong
        next(iter(RaisingLoader(_Full())))
