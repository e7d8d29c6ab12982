"""Families of students: their settings are the networks' own options, and the published networks are the defaults."""

import inspect
from typing import Any

import pytest

from intra_search.config.parsing import parse_settings, with_overrides
from intra_search.config.student import STUDENT_FAMILIES, family_of
from intra_search.config.study import StudySettings
from intra_search.networks.build import NETWORKS, build_network, network_options


def test_the_families_are_the_networks_that_can_be_students() -> None:
    assert list(STUDENT_FAMILIES) == ["erfnet", "enet", "resnet18"]
    assert set(STUDENT_FAMILIES) == {name for name in NETWORKS if not name.startswith("pspnet")}


OLDER_DEFAULTS = {"enet": {"blocks": (5, 8)}}
"""Where a default is that of studies from before the families, and not that of the published network."""


@pytest.mark.parametrize("family", STUDENT_FAMILIES)
def test_defaults_of_a_family_are_the_published_network_or_that_of_older_studies(family: str) -> None:
    options = with_overrides(StudySettings(), {"student.network": family}).student.options()
    assert set(options) <= set(network_options(family))
    signature = inspect.signature(NETWORKS[family])
    published = {name: signature.parameters[name].default for name in options}
    assert options == published | OLDER_DEFAULTS.get(family, {})
    build_network(family, 2, **options)


@pytest.mark.parametrize(
    ("student", "options"),
    [
        ({}, {"width": 1.0, "blocks": (5, 8)}),
        ({"network": "enet"}, {"width": 1.0, "blocks": (5, 8)}),
        ({"network": "resnet18", "erfnet": {"width": 0.5}}, {"width": 1.0}),
        ({"network": "enet", "enet": {"width": 0.5}, "erfnet": {"blocks": [1, 1]}}, {"width": 0.5, "blocks": (5, 8)}),
    ],
)
def test_options_are_those_of_the_chosen_family_alone(student: dict[str, Any], options: dict[str, Any]) -> None:
    assert parse_settings({"student": student}).student.options() == options


@pytest.mark.parametrize(
    ("path", "family"),
    [
        ("student.erfnet.width", "erfnet"),
        ("student.resnet18.width", "resnet18"),
        ("student.network", None),
        ("student.init", None),
        ("training.erfnet.width", None),
        ("student", None),
    ],
)
def test_family_of_a_path(path: str, family: str | None) -> None:
    assert family_of(path) == family
