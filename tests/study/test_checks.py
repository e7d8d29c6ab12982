"""What is refused before a study begins: batches that cannot be dealt, terms that never begin, a `val` of nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

from intra_search.config.study_file import parse_study
from intra_search.errors import SceneError, SettingError
from intra_search.networks.build import NETWORKS
from intra_search.networks.pspnet import PSPNet
from intra_search.scenes.scene_set import open_scenes
from intra_search.scenes.writers.files import write_mask
from intra_search.study.checks import check_batches, check_schedules, check_single_images, checked_scenes
from tests.study.contexts import Notes
from tests.tiny_study import HEIGHT, WIDTH, tiny_settings, write_roads


@pytest.mark.parametrize(
    ("changes", "scenes", "message"),
    [
        (["training.batch_size=8"], 7, "training.batch_size: must not exceed the training scenes, found 8 with 7"),
        (["teacher.training.batch_size=8"], 7, "teacher.training.batch_size: must not exceed"),
        (["training.batch_size=2", "resources.workers=3"], 9, "must give every worker a sample, found 2 with 3"),
        (['scenes.unlabelled=["synthetic:4"]', "training.batch_size=1"], 9, "must have room for both kinds of frames"),
        (['scenes.unlabelled=["synthetic:4"]', "training.batch_size=8"], 3, "found 4 with 3 training scenes"),
    ],
)
def test_batches_that_cannot_be_dealt(changes: list[str], scenes: int, message: str) -> None:
    settings = parse_study("", "f", ["training.batch_size=4", "teacher.training.batch_size=1", *changes]).settings
    with pytest.raises(SettingError) as caught:
        check_batches(settings, num_scenes=scenes)
    assert message in str(caught.value)


def test_frames_without_labels_leave_room_for_few_scenes() -> None:
    changes = ['scenes.unlabelled=["synthetic:4"]', "training.batch_size=8", "teacher.training.batch_size=1"]
    check_batches(parse_study("", "f", changes).settings, num_scenes=4)


def test_a_term_must_begin_before_the_last_step_is_over() -> None:
    """Ten epochs of two steps: the last of the 20 begins when the share 0.95 is done."""
    training = {"epochs": 10, "batch_size": 4}
    for start, refused in ((0.95, False), (0.951, True)):
        text = tomli_w.dumps({"training": training, "distill": {"affinity": {"start": start}}})
        space = parse_study(text, "f").space
        if not refused:
            check_schedules(space, num_scenes=9)
            continue
        with pytest.raises(
            SettingError, match=r"distill\.affinity\.start: must lie before the last of a training's 20"
        ):
            check_schedules(space, num_scenes=9)


def test_a_term_that_no_trial_weighs_may_begin_whenever_it_likes() -> None:
    text = tomli_w.dumps({"distill": {"affinity": {"start": 0.999, "weight": 0.0}}})
    check_schedules(parse_study(text, "f").space, num_scenes=16)


def test_the_latest_start_of_a_space_counts() -> None:
    domain = {"kind": "float", "low": 0.0, "high": 0.99}
    tree = {"training": {"epochs": 2, "batch_size": 4}, "space": {"distill.affinity.start": domain}}
    with pytest.raises(SettingError, match=r"found 0\.99; lower it, or train longer"):
        check_schedules(parse_study(tomli_w.dumps(tree), "f").space, num_scenes=16)


@pytest.mark.parametrize("scenes", [{"val_groups": ["drive1", "drive4"]}, {}], ids=["named", "drawn"])
def test_a_val_without_a_valid_pixel_is_known_before_anything_is_trained(
    tmp_path: Path, scenes: dict[str, Any]
) -> None:
    root = tmp_path / "roads"
    write_roads(root)
    settings = tiny_settings(root, scenes={**scenes, "cache": False})
    masks = [root / "masks" / f"{name}.png" for name in open_scenes(settings.scenes, "val").names]
    for path in masks:
        write_mask(path, np.full((HEIGHT, WIDTH), 255, np.uint8))
    with pytest.raises(SceneError, match=rf"val must hold a pixel of a class.* found {len(masks)} scenes in which"):
        checked_scenes(settings, new_study=True, tell=Notes())
    checked_scenes(settings, new_study=False, tell=Notes())  # a study that goes on has read them
    labels = np.full((HEIGHT, WIDTH), 255, np.uint8)
    labels[-8:, :8] = 1
    write_mask(masks[-1], labels)
    checked_scenes(settings, new_study=True, tell=Notes())


def test_what_is_cut_away_does_not_count(tmp_path: Path) -> None:
    root = tmp_path / "roads"
    write_roads(root)
    labels = np.full((HEIGHT, WIDTH), 255, np.uint8)
    labels[:8] = 0
    for path in (root / "masks").iterdir():
        write_mask(path, labels)
    for crop_top, counted in ((0.0, True), (0.25, False)):
        settings = tiny_settings(root, scenes={"crop_top": crop_top, "cache": False})
        if counted:
            checked_scenes(settings, new_study=True, tell=Notes())
            continue
        with pytest.raises(SceneError, match=r"lower scenes\.crop_top"):
            checked_scenes(settings, new_study=True, tell=Notes())


ONE = ["teacher.training.batch_size=1", "training.batch_size=1"]


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ([], True),
        (["teacher.options.layout=authors"], True),
        (["teacher.options.bins=[2, 3]"], False),
        (["teacher.training.batch_size=2"], False),
        (["teacher.checkpoint=shipped:drawn_roads"], False),
        (["distill.enabled=false"], False),
    ],
)
def test_a_pyramid_bin_of_one_needs_two_images(changes: list[str], refused: bool) -> None:
    space = parse_study("", "f", ["teacher.network=pspnet_resnet18", *ONE, *changes]).space
    if not refused:
        check_single_images(space)
        return
    with pytest.raises(
        SettingError, match=r"teacher\.training\.batch_size: must give every step two images, since psp"
    ):
        check_single_images(space)


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        (["training.batch_size=1"], True),
        (["training.batch_size=2"], False),
        (["training.batch_size=2", "resources.workers=2"], False),
        (["training.batch_size=2", 'scenes.unlabelled=["synthetic:4"]'], True),
    ],
)
def test_every_student_of_a_space_needs_maps_of_more_cells(
    changes: list[str], refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None that ships has a pyramid: here ENet gets one."""
    monkeypatch.setitem(NETWORKS, "enet", lambda classes, width, blocks: PSPNet(classes, depth=18, head_channels=8))
    domain = {"kind": "choice", "values": ["erfnet", "enet"]}
    space = parse_study(tomli_w.dumps({"space": {"student.network": domain}}), "f", changes).space
    if not refused:
        check_single_images(space)
        return
    with pytest.raises(SettingError, match=r"training\.batch_size: must give every step two images, since enet"):
        check_single_images(space)
