"""The networks that come with the package."""

from pathlib import Path

import pytest
import torch

from intra_search.config.parsing import parse_settings, with_overrides
from intra_search.config.study_file import load_study, parse_study
from intra_search.distill.workers import ALONE
from intra_search.errors import CheckpointError
from intra_search.networks.build import build_network
from intra_search.networks.checkpoint import initialise, load_network, read_checkpoint_about, save_network
from intra_search.networks.placement import place
from intra_search.networks.shipped import FOLDER, checkpoint_storage
from intra_search.scenes.scene_set import open_scenes
from intra_search.store.storage import Storage
from intra_search.study.checks import check_init
from intra_search.training.evaluation import validate

DRAWN = "shipped:drawn_roads"
SPACES = Path(__file__).parents[2] / "search_spaces"


def test_it_is_small_and_says_where_it_comes_from() -> None:
    storage = checkpoint_storage(DRAWN)
    assert sum(storage.sizes().values()) <= 6e6
    about = read_checkpoint_about(storage, "")
    recipe = load_study(SPACES / "drawn_teacher.toml").settings
    stored = parse_settings({key: about["settings"][key] for key in ("teacher", "scenes", "seed")})
    assert (stored.teacher, stored.scenes, stored.seed) == (recipe.teacher, recipe.scenes, recipe.seed)
    assert len(about["history"]) == recipe.teacher.training.epochs
    assert about["commit"]


def test_it_knows_drawn_roads_that_it_never_saw() -> None:
    """On other scenes than its own; predicting background gives a twelfth."""
    settings = with_overrides(load_study(SPACES / "quickstart.toml").settings, {"scenes.num_val": 12})
    network, _ = load_network(checkpoint_storage(DRAWN), "")
    assert all(weight.dtype == torch.float32 for weight in network.parameters())
    row = validate(
        network, open_scenes(settings.scenes, "val"), settings, place("off", use_gpu=False), ALONE, batch_size=4
    )
    assert float(row["val/miou"] or 0) > 0.25


def test_the_demo_takes_it_and_other_classes_are_refused() -> None:
    settings = load_study(SPACES / "quickstart.toml").settings
    assert settings.teacher.checkpoint == DRAWN
    check_init(settings, open_scenes(settings.scenes, "train"), with_teacher=True)
    fine = with_overrides(settings, {"scenes.classes": "fine"})
    with pytest.raises(CheckpointError, match=r"teacher.checkpoint = shipped:drawn_roads: .* this study's 36 classes"):
        check_init(fine, open_scenes(fine.scenes, "train"), with_teacher=True)


def test_other_options_are_refused_with_what_to_set() -> None:
    settings = with_overrides(load_study(SPACES / "quickstart.toml").settings, {"teacher.options.width": 1.0})
    with pytest.raises(CheckpointError, match=r"width = 1.0, .* found 0.45; set teacher.options.width = 0.45"):
        check_init(settings, open_scenes(settings.scenes, "train"), with_teacher=True)


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(CheckpointError, match=r"shipped:none: .* found 'none'; there is: shipped:drawn_roads"):
        checkpoint_storage("shipped:none")


def test_it_is_no_path_and_any_other_name_is() -> None:
    assert parse_study(f'[teacher]\ncheckpoint = "{DRAWN}"', "f").settings.teacher.checkpoint == DRAWN
    assert checkpoint_storage("/some/folder").full_path() == Storage("/some/folder").full_path()


def test_a_training_may_start_from_it_with_other_classes() -> None:
    network = build_network("pspnet_resnet18", 3, width=0.45, head_channels=64)
    left = initialise(network, DRAWN, "teacher.init")
    assert left == ["head.4.bias", "head.4.weight"]


def test_weights_of_half_the_bytes_are_near_their_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_network("erfnet", 3, width=0.25, blocks=(1, 1))
    recipe = {"name": "erfnet", "num_classes": 3, "options": {"width": 0.25, "blocks": [1, 1]}}
    save_network(Storage(tmp_path), "half", network.state_dict(), {"network": recipe})
    read, _ = load_network(Storage(tmp_path), "half")
    for name, value in network.state_dict().items():
        torch.testing.assert_close(read.state_dict()[name], value, rtol=1e-3, atol=1e-6)
    assert FOLDER.is_dir()
