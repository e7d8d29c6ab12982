"""Files of version 1, with one `student.width` and one `student.blocks` for all networks, and of version 2, with other
schedules and defaults, in today's form."""

import logging
from typing import Any

import pytest
import tomli_w

from intra_search.config.space import Space
from intra_search.config.student import STUDENT_FAMILIES
from intra_search.config.study_file import StudyPlan, parse_study
from intra_search.config.upgrades import (
    DEFAULTS_OF_2,
    MOVED,
    upgrade_file,
    upgrade_point,
    upgrade_settings,
    upgrade_space,
    upgrade_stored,
)
from intra_search.errors import IntraSearchError

NETWORKS = {"kind": "choice", "values": ["erfnet", "enet", "resnet18"]}
WIDTHS = {"kind": "choice", "values": [0.5, 1.0]}
BLOCKS = {"kind": "choice", "values": [[1, 2], [5, 8]]}


def plan_of(text: str, space: dict[str, Any] | None = None, *overrides: str) -> StudyPlan:
    return parse_study(text + "\n" + tomli_w.dumps({"space": space} if space else {}), "my.toml", overrides)


def student_of(plan: StudyPlan) -> dict[str, Any]:
    return plan.settings.student.model_dump(mode="json")


def refused(text: str, space: dict[str, Any] | None = None, *overrides: str) -> str:
    with pytest.raises(IntraSearchError) as caught:
        plan_of(text, space, *overrides)
    line = str(caught.value)
    assert "\n" not in line
    return line


def conditions(space: Space) -> dict[str, dict[str, Any]]:
    return {path: domain.when for path, domain in space.domains.items()}


def test_the_moved_settings_exist() -> None:
    for old, moved in MOVED.items():
        key = old.removeprefix("student.")
        assert moved == tuple(
            f"student.{family}.{key}" for family, group in STUDENT_FAMILIES.items() if key in group.model_fields
        )


def test_a_base_value_goes_to_every_family_that_has_the_setting(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        plan = plan_of("[student]\nnetwork = 'resnet18'\nwidth = 0.5\nblocks = [2, 3]")
    assert student_of(plan) == {
        "network": "resnet18",
        "erfnet": {"width": 0.5, "blocks": [2, 3]},
        "enet": {"width": 0.5, "blocks": [2, 3]},
        "resnet18": {"width": 0.5},
        "init": None,
    }
    assert [record.getMessage() for record in caplog.records] == [
        "my.toml: student.width is now student.erfnet.width, student.enet.width, student.resnet18.width",
        "my.toml: student.blocks is now student.erfnet.blocks, student.enet.blocks",
    ]


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("[student]\nnetwork = 'enet'\nwidth = 0.5", [5, 8]),
        ("[student]\nnetwork = 'enet'", [5, 8]),  # nothing tells its age: the same network in both forms
        ("[student]\nnetwork = 'enet'\nwidth = 0.5\n[student.enet]\nblocks = [1, 1]", [1, 1]),
    ],
)
def test_blocks_that_an_old_file_does_not_name_keep_their_old_default(text: str, blocks: list[int]) -> None:
    assert student_of(plan_of(text))["enet"]["blocks"] == blocks


def test_a_file_of_today_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    settings = {"student": {"network": "enet", "enet": {"width": 0.5}}}
    tables = {"space": {"student.enet.width": WIDTHS}, "points": [{"student.enet.width": 0.5}]}
    assert upgrade_file(settings, tables) == (settings, tables, {})
    plan_of("[student.enet]\nwidth = 0.5")
    assert not caplog.records


def test_upgrading_twice_changes_nothing_more() -> None:
    settings = {"student": {"network": "enet", "width": 0.5}}
    space = {"student.width": WIDTHS, "student.network": NETWORKS, "student.blocks": BLOCKS}
    points = [{"student.network": "resnet18", "student.width": 0.5}, {"student.blocks": [1, 2]}]
    once = upgrade_file(settings, {"space": space, "points": points})
    assert once[2] == MOVED
    assert upgrade_file(*once[:2]) == (*once[:2], {})
    assert settings == {"student": {"network": "enet", "width": 0.5}}


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ({"student.width": 0.5, "student.network": "enet"}, {"student.enet.width": 0.5, "student.network": "enet"}),
        ({"student.width": 0.5, "seed": 1}, {"student.resnet18.width": 0.5, "seed": 1}),
        (
            {"student.network": "erfnet", "student.blocks": [1, 2]},
            {"student.network": "erfnet", "student.erfnet.blocks": [1, 2]},
        ),
        ({"student.blocks": [1, 2], "student.width": 0.5}, {"student.resnet18.width": 0.5}),  # it has no blocks
        ({"student.width": 0.5, "student.resnet18.width": 1.0}, {"student.resnet18.width": 1.0}),
        ({}, {}),
    ],
)
def test_a_points_values_go_to_its_own_network(point: dict[str, Any], expected: dict[str, Any]) -> None:
    assert upgrade_point(point, "resnet18") == expected
    assert upgrade_point(expected, "resnet18") == expected


def test_a_searched_setting_becomes_one_for_each_family_that_the_space_reaches() -> None:
    space = {
        "student.width": WIDTHS,
        "student.network": {"kind": "choice", "values": ["erfnet", "resnet18"]},
        "student.blocks": BLOCKS,
    }
    plan = plan_of("", space)
    assert conditions(plan.space) == {
        "student.network": {},  # above what depends on it now
        "student.erfnet.width": {"student.network": "erfnet"},
        "student.resnet18.width": {"student.network": "resnet18"},
        "student.erfnet.blocks": {"student.network": "erfnet"},
    }
    assert [domain.num_values() for domain in plan.space.domains.values()] == [2, 2, 2, 2]
    alone = plan_of("[student]\nnetwork = 'enet'", {"student.width": WIDTHS, "student.blocks": BLOCKS})
    assert list(alone.space.domains) == ["student.enet.width", "student.enet.blocks"]
    assert plan_of("[student]\nnetwork = 'resnet18'", {"student.blocks": BLOCKS}).space.domains == {}


def test_the_old_condition_on_the_network_chooses_the_families() -> None:
    space = {
        "student.network": NETWORKS,
        "student.blocks": {**BLOCKS, "when": {"student.network": ["erfnet", "enet"]}},
        "student.width": {**WIDTHS, "when": {"student.network": "erfnet", "student.blocks": [[1, 2]]}},
    }
    assert conditions(plan_of("", space).space) == {
        "student.network": {},
        "student.erfnet.blocks": {"student.network": "erfnet"},
        "student.enet.blocks": {"student.network": "enet"},
        "student.erfnet.width": {"student.network": "erfnet", "student.erfnet.blocks": [[1, 2]]},
    }


def test_conditions_on_an_old_setting_name_the_new_one() -> None:
    momentum = {"kind": "choice", "values": [0.5, 0.9], "when": {"student.width": 0.5}}
    # Searched for one family; a base value, the same for every family; searched for several, of which one is meant.
    one = plan_of("[student]\nwidth = 0.5", {"student.width": WIDTHS, "training.momentum": momentum})
    assert conditions(one.space)["training.momentum"] == {"student.erfnet.width": 0.5}
    base = plan_of("[student]\nnetwork = 'resnet18'\nwidth = 0.5", {"training.momentum": momentum})
    assert conditions(base.space)["training.momentum"] == {"student.erfnet.width": 0.5}
    meant = {**momentum, "when": {"student.network": "enet", "student.width": 0.5}}
    several = plan_of("", {"student.network": NETWORKS, "student.width": WIDTHS, "training.momentum": meant})
    assert conditions(several.space)["training.momentum"] == {"student.network": "enet", "student.enet.width": 0.5}


def test_a_condition_that_several_families_meet_has_no_equal_today() -> None:
    momentum = {"kind": "choice", "values": [0.5, 0.9], "when": {"student.width": 0.5}}
    space = {"student.network": NETWORKS, "student.width": WIDTHS, "training.momentum": momentum}
    line = refused("", space)
    assert line == (
        "space.training.momentum.when: student.width is a setting of each family of students, and a condition names "
        "one, found 0.5; name one of student.erfnet.width, student.enet.width, student.resnet18.width"
    )
    # A stored study keeps such a space as it is, since what else it holds can be read.
    stored = upgrade_stored(
        {"settings": {"student": {"width": 0.5}}, "space": space, "points": [{"student.width": 1.0}]}
    )
    assert stored["space"] == space
    assert stored["points"] == [{"student.erfnet.width": 1.0}]
    assert stored["settings"]["student"]["enet"] == {"width": 0.5}


def test_points_of_a_file_are_upgraded_too() -> None:
    points = '[[points]]\n"student.network" = "enet"\n"student.width" = 0.5\n[[points]]\n"student.width" = 0.5\n'
    space = {"student.network": NETWORKS, "student.width": WIDTHS}
    plan = plan_of(points, space)
    assert plan.space.points == (
        {"student.network": "erfnet", "student.erfnet.width": 1.0},
        {"student.network": "enet", "student.enet.width": 0.5},
        {"student.network": "erfnet", "student.erfnet.width": 0.5},
    )


def test_an_override_of_a_moved_setting_names_the_new_ones() -> None:
    assert refused("", None, "student.width=0.5") == (
        "--set student.width: is a setting of each family of students, found student.width; "
        "use student.erfnet.width or student.enet.width or student.resnet18.width"
    )
    assert "use student.erfnet.blocks or student.enet.blocks" in refused("", None, "student.blocks=[1, 2]")


def test_overrides_beat_what_an_old_file_says() -> None:
    plan = plan_of("[student]\nwidth = 0.5", None, "student.network=enet", "student.enet.width=0.25")
    assert student_of(plan)["enet"] == {"width": 0.25, "blocks": [5, 8]}
    assert student_of(plan)["erfnet"]["width"] == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("student = 3", "my.toml: student: "),
        ("[student]\nwidth = 'wide'", "my.toml: student.erfnet.width: Input should be a valid number"),
        ("[student]\nwidth = 0.5\nerfnet = 3", "my.toml: student.erfnet: "),
        ("space = 3\n[student]\nwidth = 0.5", "space: "),
        ("points = 3\n[student]\nwidth = 0.5", "points: "),
        ("points = [3]\n[student]\nwidth = 0.5", "points.0: "),
        ("[student]\nwidth = 0.5\n[space]\n'student.width' = 3", "space.student.width: "),
        ("[student]\nwidth = 0.5\n[space.'student.network']\nkind = 'choice'\n", "space.student.network.choice.values"),
        (
            "[space.'student.width']\nkind = 'choice'\nvalues = [1.0]\nwhen = 3",
            "space.student.erfnet.width.choice.when",
        ),
    ],
)
def test_a_broken_old_file_is_refused_as_any_other(text: str, message: str) -> None:
    assert message in refused(text)


def test_settings_that_are_no_table_are_left_for_the_parser() -> None:
    assert upgrade_settings({"student": 3}) == {"student": 3}
    assert upgrade_space({"student.network": NETWORKS, "seed": 3}, "erfnet") == {"student.network": NETWORKS, "seed": 3}


@pytest.mark.parametrize(
    ("old", "shares"),
    [
        ('schedule = "constant"', (0.0, 0.0, 0.0)),
        ('schedule = "constant"\nramp = 0.4', (0.0, 0.0, 0.0)),  # it was not used
        ('schedule = "warmup"', (0.0, 0.1, 0.0)),
        ('schedule = "warmup"\nramp = 0.4', (0.0, 0.4, 0.0)),
        ('schedule = "cosine"', (0.0, 0.0, 1.0)),
    ],
)
def test_schedules_of_version_2_become_shares(old: str, shares: tuple[float, ...], caplog: Any) -> None:
    with caplog.at_level(logging.WARNING):
        kd = plan_of(f"[distill.kd]\nweight = 1.0\n{old}").settings.distill.kd
    assert (kd.weight, kd.start, kd.ramp, kd.decay) == (1.0, *shares)
    assert "distill.kd.schedule is now distill.kd.start, distill.kd.ramp, distill.kd.decay" in caplog.text


def test_a_searched_schedule_is_refused_and_balance_steps_is_dropped() -> None:
    domain = {"distill.kd.schedule": {"kind": "choice", "values": ["constant", "warmup"]}}
    assert "search the term's start, ramp or decay" in refused("", domain)
    assert plan_of("[distill]\nbalance_steps = 5").settings == plan_of("").settings


def test_a_point_of_version_2_takes_shares() -> None:
    point = {"distill.kd.schedule": "warmup", "distill.kd.ramp": 0.3, "distill.at.schedule": "cosine", "seed": 1}
    expected = {"distill.kd.ramp": 0.3, "distill.at.ramp": 0.0, "distill.at.decay": 1.0, "seed": 1}
    assert upgrade_point(point, "erfnet") == expected
    assert upgrade_point(expected, "erfnet") == expected


def test_a_study_goes_on_with_the_defaults_of_its_release() -> None:
    """Those that its file names stay as it names them."""
    old = plan_of('[distill]\nbalance = "gradient"').with_defaults(DEFAULTS_OF_2).settings.distill
    assert old.balance == "gradient"
    assert old.layers == (("block2", "block3"), ("block3", "block5"))
    stored = upgrade_stored({"settings": {"distill": {"affinity": {"orders": [2], "schedule": "warmup"}}}})
    distill = stored["settings"]["distill"]
    assert distill["balance"] == "none"
    assert distill["affinity"]["orders"] == [2]
    assert distill["affinity"]["ramp"] == 0.1
    assert upgrade_stored(stored) == stored
