"""What must be stored equals what any trial may ask, counted by brute force over every point of small spaces."""

import itertools
from typing import Any

import pytest
import tomli_w

from intra_search.config.domains import Domain
from intra_search.config.parsing import with_overrides
from intra_search.config.space import Point, Space
from intra_search.config.study_file import parse_study
from intra_search.distill.loss import needs_of
from intra_search.distill.needs import Need
from intra_search.errors import SpaceError
from intra_search.knowledge.spec import needs_of_space


def space_of(base: dict[str, Any], domains: dict[str, dict[str, Any]]) -> Space:
    return parse_study(tomli_w.dumps({**base, "space": domains}), "study").space


def all_values(domain: Domain) -> list[Any]:
    if domain.kind == "int":
        return list(range(domain.low, domain.high + 1, domain.step))
    if domain.kind == "subset":
        sizes = range(domain.min_size, len(domain.values) + 1)
        return [list(values) for size in sizes for values in itertools.combinations(domain.values, size)]
    return [domain.low, (domain.low + domain.high) / 2, domain.high] if domain.kind == "float" else domain.values


def all_points(space: Space) -> list[Point]:
    """By trying every combination and keeping what the space holds, conditions included."""
    points = []
    options = [[None, *all_values(domain)] for domain in space.domains.values()]
    for values in itertools.product(*options):
        point = {path: value for path, value in zip(space.domains, values, strict=True) if value is not None}
        if space.holds(point):
            points.append(point)
    return points


def by_brute_force(space: Space) -> frozenset[Need]:
    needs = [needs_of(with_overrides(space.base, point).distill) for point in all_points(space)]
    return frozenset().union(*needs)


ORDERS = {"kind": "subset", "values": [1, 2, 3, 4]}
KERNEL = {"kind": "int", "low": 3, "high": 7, "step": 2}
LAYERS = {"kind": "choice", "values": [[["block2", "block3"], ["block3", "block5"]], [["block3", "block4"]]]}
WEIGHT = {"kind": "float", "low": 0.0, "high": 1.0}
ENABLED = {"kind": "choice", "values": [True, False]}
NETWORK = {"kind": "choice", "values": ["erfnet", "enet"]}
SPACES: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {
    "no space": ({}, {}),
    "no distillation": ({"distill": {"enabled": False}}, {"student.network": NETWORK}),
    "orders and kernels": ({}, {"distill.affinity.orders": ORDERS, "distill.affinity.kernel_size": KERNEL}),
    "layers": ({}, {"distill.layers": LAYERS, "distill.affinity.orders": ORDERS}),
    "with and without": ({}, {"distill.enabled": ENABLED, "distill.attention.weight": WEIGHT}),
    "one term on in the base, the other searched": (
        {"distill": {"affinity": {"weight": 0.0}}},
        {"distill.affinity.weight": WEIGHT, "distill.layers": LAYERS},
    ),
    "base values outside the domains": (
        {"distill": {"affinity": {"kernel_size": 11, "orders": [6]}}},
        {"distill.affinity.kernel_size": KERNEL, "distill.affinity.orders": ORDERS},
    ),
    "base values where a condition does not hold": (
        {"distill": {"affinity": {"kernel_size": 11}}},
        {"student.network": NETWORK, "distill.affinity.kernel_size": {**KERNEL, "when": {"student.network": "erfnet"}}},
    ),
    "base layers where a condition does not hold": (
        {"distill": {"layers": [["block1", "block2"]]}},
        {
            "student.network": NETWORK,
            "distill.layers": {**LAYERS, "when": {"student.network": "erfnet"}},
            "distill.affinity.orders": ORDERS,
        },
    ),
    "kernels of one choice of layers": (
        {},
        {
            "distill.layers": LAYERS,
            "distill.affinity.kernel_size": {
                **KERNEL,
                "when": {"distill.layers": [[["block2", "block3"], ["block3", "block5"]]]},
            },
        },
    ),
    "orders that decide about kernels": (
        {},
        {
            "distill.affinity.orders": ORDERS,
            "distill.affinity.kernel_size": {**KERNEL, "when": {"distill.affinity.orders": [[1, 2, 3], [4]]}},
        },
    ),
    "one term decides about the other": (
        {},
        {
            "distill.affinity.kernel_size": KERNEL,
            "distill.attention.weight": {
                "kind": "choice",
                "values": [0.1, 0.0],
                "when": {"distill.affinity.kernel_size": 5},
            },
        },
    ),
    "other methods": (
        {"distill": {"skd": {"pixel_weight": 0.0}}},
        {
            "distill.kd.weight": {"kind": "choice", "values": [0.0, 1.0]},
            "distill.cwd.weight": WEIGHT,
            "distill.cwd.on": {"kind": "choice", "values": ["features", "logits"]},
            "distill.kd.stride": {"kind": "choice", "values": [1, 8]},
        },
    ),
}


@pytest.mark.parametrize("name", SPACES)
def test_needs_equal_brute_force(name: str) -> None:
    space = space_of(*SPACES[name])
    assert needs_of_space(space) == by_brute_force(space)


def test_needs_by_hand() -> None:
    space = space_of({}, {"distill.affinity.orders": {"kind": "subset", "values": [1, 2, 3]}, "distill.layers": LAYERS})
    layers = {need.layer for need in needs_of_space(space)}  # type: ignore[attr-defined]
    assert layers == {"block3", "block4", "block5"}
    assert len(needs_of_space(space)) == 3 * (3 + 1)  # per layer three orders and one map
    assert needs_of_space(space_of({"distill": {"enabled": False}}, {})) == frozenset()


def test_too_many_values_to_store() -> None:
    domains = {"distill.balance_every": {"kind": "int", "low": 1, "high": 99}}
    with pytest.raises(SpaceError, match=r"space\.distill\.balance_every: must have at most 64 values"):
        needs_of_space(space_of({}, domains))


@pytest.mark.parametrize("path", ["scenes.height", "scenes.views", "scenes.augment.colour", "teacher.network", "seed"])
def test_what_answers_depend_on_may_not_be_searched_and_the_reason_is_given(path: str) -> None:
    domains = {path: {"kind": "choice", "values": [1, 2]}}
    reason = "must be the same in all trials of a study, since the teacher's answers about each view are made once"
    with pytest.raises(SpaceError, match=rf"space\.{path}: {reason}, found a domain; set it once, outside the space"):
        space_of({}, domains)
