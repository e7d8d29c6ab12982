"""Older study files and stored studies in today's form: pure functions of the trees that TOML and JSON hold.

Version 1 had one `student.width` and one `student.blocks` for every network. They are now settings of each family of
students, such as `student.erfnet.width`. Version 2 had a `schedule` per term, which is now `start`, `ramp` and `decay`,
and other defaults (`DEFAULTS_OF_2`). All of this may run on a tree that is in today's form already.
"""

import copy
import json
from collections.abc import Mapping
from typing import Any

from intra_search.config.student import NETWORK, StudentSettings, family_of
from intra_search.errors import SpaceError

MOVED: dict[str, tuple[str, ...]] = {
    "student.width": ("student.erfnet.width", "student.enet.width", "student.resnet18.width"),
    "student.blocks": ("student.erfnet.blocks", "student.enet.blocks"),
}
"""Settings of version 1, and where they are today."""

DEFAULTS_OF_2: dict[str, Any] = {
    "distill.balance": "none",
    "distill.layers": [["block2", "block3"], ["block3", "block5"]],
    "distill.affinity.orders": [1, 2, 3],
    "distill.affinity.least_cells": [1, 2],
    **{f"distill.{term}.map": "sum" for term in ("attention", "neighbour", "sad")},
    **{f"distill.{term}.temperature": 1.0 for term in ("attention", "neighbour", "sad")},
}
"""What versions 1 and 2 took, or did, where a study file said nothing. Their studies go on with it."""

_RAMP_OF_2 = 0.1

Tree = dict[str, Any]


def upgrade_file(settings: Tree, tables: Tree) -> tuple[Tree, Tree, dict[str, tuple[str, ...]]]:
    """A study file's settings and its tables `space` and `points`; also, what was moved and where to.

    Raises `SpaceError` for a condition or a domain that has no equal today.
    """
    settings, schedules = _with_shares(settings)
    tables = _points_with_shares(tables)
    settings, tables, families = _upgrade_families(settings, tables)
    return settings, tables, {**families, **schedules}


def _upgrade_families(settings: Tree, tables: Tree) -> tuple[Tree, Tree, dict[str, tuple[str, ...]]]:
    space, points = tables.get("space"), tables.get("points")
    named = {path for path in MOVED if path.removeprefix("student.") in _student_of(settings)}
    if isinstance(space, dict):
        named |= {path for path in MOVED if path in space or any(path in _when_of(domain) for domain in space.values())}
    if isinstance(points, list):
        named |= {path for path in MOVED if any(isinstance(point, dict) and path in point for point in points)}
    if not named:
        return settings, tables, {}
    network = base_network(settings)
    upgraded = dict(tables)
    if isinstance(space, dict):
        upgraded["space"] = upgrade_space(space, network)
    if isinstance(points, list):
        upgraded["points"] = [upgrade_point(point, network) if isinstance(point, dict) else point for point in points]
    return upgrade_settings(settings), upgraded, {path: MOVED[path] for path in MOVED if path in named}


def upgrade_stored(tree: Tree) -> Tree:
    """A stored study.toml of version 1 or 2; its version number stays, since it is that of the file."""
    network = base_network(tree["settings"])
    upgraded = {**tree, "settings": _with_defaults_of_2(_with_shares(upgrade_settings(tree["settings"]))[0])}
    if isinstance(tree.get("points"), list):
        upgraded["points"] = [upgrade_point(point, network) for point in tree["points"]]
    if isinstance(tree.get("space"), dict):
        try:
            upgraded["space"] = upgrade_space(tree["space"], network)
        except SpaceError:
            # Only the study file's own space is searched, and reading that one gives the error. Status and best of the
            # study need no space.
            upgraded["space"] = tree["space"]
    return upgraded


def upgrade_settings(settings: Tree) -> Tree:
    """Copies an old setting to every family. (A setting not given has the same default in both forms.)"""
    student = _student_of(settings)
    if not isinstance(settings.get("student", {}), dict):
        return settings
    given = {path: student.pop(key) for path in MOVED if (key := path.removeprefix("student.")) in student}
    for path, value in given.items():
        for new in MOVED[path]:
            _, family, key = new.split(".")
            group = student.get(family, {})
            if isinstance(group, dict) and key not in group:
                student[family] = {**group, key: value}
    return {**settings, "student": student}


def upgrade_point(point: Tree, network: str) -> Tree:
    """A point's old settings become those of its own network, or of the base settings' `network`. What that network
    does not have is left out: it changed nothing."""
    family = point.get(NETWORK, network)
    upgraded: Tree = {}
    for path, value in _point_with_shares(point).items():
        if path not in MOVED:
            upgraded[path] = value
        for new in MOVED.get(path, ()):
            if family_of(new) == family and new not in point:
                upgraded[new] = value
    return upgraded


def upgrade_space(space: Tree, network: str) -> Tree:
    """An old setting's domain becomes one for each family that the space can reach. Raises `SpaceError` if another
    domain's condition names it and several families can meet that: a condition names one setting."""
    upgraded: Tree = {}
    for path, domain in _network_first(space).items():
        if path not in MOVED or not isinstance(domain, dict):
            upgraded[path] = _with_new_conditions(path, domain, space, network, _families_of(domain, space, network))
            continue
        for new in MOVED[path]:
            family = str(family_of(new))
            if family in _families_of(domain, space, network) and new not in space:
                upgraded[new] = _with_new_conditions(path, domain, space, network, [family])
    return upgraded


def is_older(point: Tree) -> bool:
    """Whether a point names a setting that has moved since."""
    return any(path in MOVED or path.endswith(".schedule") for path in point)


def _shares(schedule: Any, ramp: Any) -> Tree:
    """A schedule of version 2 as shares of the training."""
    return {"warmup": {"ramp": ramp}, "cosine": {"ramp": 0.0, "decay": 1.0}}.get(str(schedule), {"ramp": 0.0})


def _with_shares(settings: Tree) -> tuple[Tree, dict[str, tuple[str, ...]]]:
    """Settings without `schedule` and `balance_steps`, and what was moved where."""
    distill = settings.get("distill")
    if not isinstance(distill, dict):
        return settings, {}
    upgraded, moved_paths = dict(distill), dict[str, tuple[str, ...]]()
    if "balance_steps" in upgraded:
        del upgraded["balance_steps"]
        moved_paths["distill.balance_steps"] = ("distill.balance_every",)
    for name, group in distill.items():
        if isinstance(group, dict) and "schedule" in group:
            kept = {key: value for key, value in group.items() if key not in ("schedule", "ramp")}
            upgraded[name] = {**kept, **_shares(group["schedule"], group.get("ramp", _RAMP_OF_2))}
            moved_paths[f"distill.{name}.schedule"] = tuple(
                f"distill.{name}.{key}" for key in ("start", "ramp", "decay")
            )
    return {**settings, "distill": upgraded}, moved_paths


def _points_with_shares(tables: Tree) -> Tree:
    points, space = tables.get("points"), tables.get("space")
    for path in space if isinstance(space, dict) else ():
        if path.startswith("distill.") and path.endswith((".schedule", ".balance_steps")):
            rule, remedy = "is no setting any more", "search the term's start, ramp or decay, shares of the training"
            raise SpaceError(f"space.{path}", rule, path.rpartition(".")[2], remedy)
    if not isinstance(points, list):
        return tables
    upgraded = [_point_with_shares(point) if isinstance(point, dict) else point for point in points]
    return {**tables, "points": upgraded}


def _point_with_shares(point: Tree) -> Tree:
    upgraded = dict(point)
    for path in [path for path in point if path.startswith("distill.") and path.endswith(".schedule")]:
        term = path.removesuffix(".schedule")
        shares = _shares(upgraded.pop(path), upgraded.pop(f"{term}.ramp", _RAMP_OF_2))
        upgraded.update({f"{term}.{key}": value for key, value in shares.items()})
    return upgraded


def _with_defaults_of_2(settings: Tree) -> Tree:
    """Fills in what a stored study of version 1 or 2 does not say."""
    upgraded = copy.deepcopy(settings)
    for path, value in DEFAULTS_OF_2.items():
        *groups, key = path.split(".")
        node = upgraded
        for group in groups:
            node = node.setdefault(group, {})
        node.setdefault(key, value)
    return upgraded


def moved(settings: Tree) -> dict[str, tuple[Any, str]]:
    """The old settings with their values, and where each is today."""
    student = _student_of(settings)
    keys = {path: path.removeprefix("student.") for path in MOVED}
    return {path: (student[key], ", ".join(MOVED[path])) for path, key in keys.items() if key in student}


def base_network(settings: Tree) -> str:
    """The network of the base settings."""
    return str(_student_of(settings).get("network", StudentSettings().network))


def _with_new_conditions(path: str, domain: Any, space: Tree, network: str, families: list[str]) -> Any:
    """A domain whose conditions name today's settings, where the student is of one of `families`."""
    when = _when_of(domain)
    if not any(old in when for old in MOVED):
        return domain
    return {**domain, "when": {_new_condition(path, name, space, network, families): when[name] for name in when}}


def _new_condition(path: str, name: str, space: Tree, network: str, families: list[str]) -> str:
    if name not in MOVED:
        return name
    if name not in space:
        return MOVED[name][0]  # the base settings', which is the same for every family
    allowed = set(families) & set(_families_of(space[name], space, network))
    found = [new for new in MOVED[name] if family_of(new) in allowed]
    if len(found) != 1:
        rule = f"{name} is a setting of each family of students, and a condition names one"
        remedy = f"name one of {', '.join(MOVED[name])}"
        raise SpaceError(f"space.{path}.when", rule, json.dumps(_when_of(space[path])[name], default=str), remedy)
    return found[0]


def _families(space: Tree, network: str) -> list[str]:
    """Networks that the space can reach."""
    domain = space.get(NETWORK)
    values = domain.get("values") if isinstance(domain, dict) else None
    return [str(value) for value in values] if isinstance(values, list) else [network]


def _families_of(domain: Any, space: Tree, network: str) -> list[str]:
    """Networks for which a domain is searched."""
    wanted = _when_of(domain).get(NETWORK)
    options = wanted if isinstance(wanted, list) else [wanted]
    return [family for family in _families(space, network) if wanted is None or family in options]


def _network_first(space: Tree) -> Tree:
    """The domains, with the network's moved above those that now depend on it."""
    moved = [path for path in space if path in MOVED]
    order: list[str] = []
    for path in space:
        if moved and path == moved[0] and NETWORK in space and NETWORK not in order:
            order.append(NETWORK)
        if path not in order:
            order.append(path)
    return {path: space[path] for path in order}


def _when_of(domain: Any) -> Mapping[str, Any]:
    when = domain.get("when", {}) if isinstance(domain, dict) else {}
    return when if isinstance(when, dict) else {}


def _student_of(settings: Tree) -> Tree:
    student = settings.get("student", {})
    return dict(student) if isinstance(student, dict) else {}
