"""Settings of distillation: the preset, layer weights, and that every group survives the ways settings travel."""

import json
from typing import Any

import pytest

from intra_search.config.distill import PUBLISHED_WEIGHTS, DistillSettings, TermSettings
from intra_search.config.parsing import get_path, parse_settings, with_overrides
from intra_search.config.recipes import PAPER_PRESET
from intra_search.config.study import StudySettings
from intra_search.errors import SettingError

TERM_GROUPS = [
    name for name, field in DistillSettings.model_fields.items() if isinstance(field.get_default(), TermSettings)
]


def test_defaults_differ_from_the_paper_in_absent_regions_only() -> None:
    differing = {path for path, value in PAPER_PRESET.items() if get_path(StudySettings(), f"distill.{path}") != value}
    assert differing == {"affinity.absent"}


def test_preset_takes_every_value_of_the_paper_and_survives_a_round_trip() -> None:
    settings = with_overrides(StudySettings(), {"distill.preset": "paper"})
    for path, value in PAPER_PRESET.items():
        assert get_path(settings, f"distill.{path}") == value
    assert parse_settings(json.loads(settings.model_dump_json())) == settings
    assert with_overrides(settings, {"distill.kd.weight": 1.0}).distill.affinity.absent == "counted"


@pytest.mark.parametrize(
    ("path", "value"),
    [("affinity.weight", 0.3), ("affinity.orders", [1]), ("layers", [["block3", "block5"]]), ("balance", "gradient")],
)
def test_preset_refuses_contrary_settings(path: str, value: Any) -> None:
    with pytest.raises(SettingError, match=f'preset "paper" sets {path}'):
        with_overrides(StudySettings(), {"distill.preset": "paper", f"distill.{path}": value})


def test_weighted_layers_drop_pairs_of_weight_zero() -> None:
    settings = with_overrides(StudySettings(), {"distill.layer_weights": [0.0, 2.0]}).distill
    assert settings.weighted_layers == (("block3", "block5", 2.0),)
    assert StudySettings().distill.weighted_layers == (("block2", "block3", 1.0), ("block3", "block5", 1.0))


@pytest.mark.parametrize("weights", [[1.0], [1.0, 2.0, 3.0], [1.0, -1.0]])
def test_wrong_layer_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(SettingError, match="layer_weights must"):
        with_overrides(StudySettings(), {"distill.layer_weights": weights})


@pytest.mark.parametrize("name", TERM_GROUPS)
def test_only_the_papers_terms_are_on_by_default(name: str) -> None:
    assert (getattr(DistillSettings(), name).weight > 0) == (name in ("affinity", "attention"))


def test_published_weights_belong_to_terms() -> None:
    assert set(PUBLISHED_WEIGHTS) <= set(TERM_GROUPS)
