"""Settings of distillation: the preset, layer weights, and that every group survives the ways settings travel."""

import json
from typing import Any

import pytest

from intra_search.config.distill import PUBLISHED_WEIGHTS, DistillSettings, TermSettings
from intra_search.config.parsing import get_path, parse_settings, with_overrides
from intra_search.config.recipes import PRESETS
from intra_search.config.study import StudySettings
from intra_search.distill.loss import active_terms
from intra_search.errors import SettingError

TERM_GROUPS = [
    name for name, field in DistillSettings.model_fields.items() if isinstance(field.get_default(), TermSettings)
]


@pytest.mark.parametrize("name", PRESETS)
def test_preset_takes_every_value_of_its_recipe_and_survives_a_round_trip(name: str) -> None:
    settings = with_overrides(StudySettings(), {"distill.preset": name})
    for path, value in PRESETS[name].items():
        assert get_path(settings, f"distill.{path}") == value
    assert parse_settings(json.loads(settings.model_dump_json())) == settings


def test_a_term_that_a_preset_does_not_name_may_be_added() -> None:
    settings = with_overrides(StudySettings(), {"distill.preset": "paper", "distill.kd.weight": 1.0})
    assert active_terms(settings.distill) == ("affinity", "attention", "kd")
    assert settings.distill.affinity.absent == "counted"


def test_what_each_preset_compares() -> None:
    terms = {name: active_terms(with_overrides(StudySettings(), {"distill.preset": name}).distill) for name in PRESETS}
    assert terms["paper"] == ("affinity", "attention")
    assert terms["canonical"] == ("kd", "fitnet")
    assert "affinity" in terms["intra"]


@pytest.mark.parametrize(
    ("path", "value"),
    [("affinity.weight", 0.3), ("affinity.orders", [1]), ("layers", [["block3", "block5"]]), ("affinity.start", 0.5)],
)
def test_preset_refuses_contrary_settings(path: str, value: Any) -> None:
    with pytest.raises(SettingError, match=f'preset "paper" sets {path}'):
        with_overrides(StudySettings(), {"distill.preset": "paper", f"distill.{path}": value})


def test_a_contrary_setting_is_refused_also_if_it_is_the_default() -> None:
    assert StudySettings().distill.kd.weight == 0
    with pytest.raises(SettingError, match=r'distill.kd.weight: distill.preset = "intra" sets it to 0.3, found 0'):
        with_overrides(StudySettings(), {"distill.preset": "intra", "distill.kd.weight": 0})
    with_overrides(StudySettings(), {"distill.preset": "intra", "distill.affinity": {"weight": 0.1}})


def test_weighted_layers_drop_pairs_of_weight_zero() -> None:
    layers = {"distill.layers": [["block2", "block3"], ["block3", "block5"]]}
    settings = with_overrides(StudySettings(), {**layers, "distill.layer_weights": [0.0, 2.0]}).distill
    assert settings.weighted_layers == (("block3", "block5", 2.0),)
    assert StudySettings().distill.weighted_layers == (("decoder", "block5", 1.0),)


@pytest.mark.parametrize(
    ("weights", "message"), [([1.0, 2.0], "layer_weights must"), ([-1.0], r"layer_weights\.0: .* equal to 0")]
)
def test_wrong_layer_weights_are_refused(weights: list[float], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        with_overrides(StudySettings(), {"distill.layer_weights": weights})


@pytest.mark.parametrize("name", TERM_GROUPS)
def test_only_the_papers_terms_are_on_by_default(name: str) -> None:
    assert (getattr(DistillSettings(), name).weight > 0) == (name in ("affinity", "attention"))


@pytest.mark.parametrize(
    ("schedule", "rule"),
    [
        ({"start": 1.0}, "less than 1"),
        ({"start": -0.1}, "greater than or equal to 0"),
        (
            {"start": 0.6, "ramp": 0.5},
            r"start \+ ramp must be at most 1, .* got 0.6 \+ 0.5",
        ),
        ({"decay": 1.5}, "less than or equal to 1"),
    ],
    ids=str,
)
def test_a_weight_that_is_never_reached_is_refused(schedule: dict[str, float], rule: str) -> None:
    with pytest.raises(SettingError, match=rf"distill\.kd.*{rule}"):
        with_overrides(StudySettings(), {f"distill.kd.{name}": value for name, value in schedule.items()})


def test_published_weights_belong_to_terms() -> None:
    assert set(PUBLISHED_WEIGHTS) <= set(TERM_GROUPS)
