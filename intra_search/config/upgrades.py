"""Older study files and stored studies in today's form: pure functions of the trees that TOML and JSON hold.

Version 1 had one `student.width` and one `student.blocks` for every network. They are now settings of each family of
students, such as `student.erfnet.width`. All of this may run on a tree that is in today's form already.
"""

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

Tree = dict[str, Any]


def upgrade_file(settings: Tree, tables: Tree) -> tuple[Tree, Tree, dict[str, tuple[str, ...]]]:
    """A study file's settings and its tables `space` and `points`; also, what was moved and where to.

    Raises `SpaceError` for a condition that has no equal today.
    """
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
    """A stored study.toml of version 1; its version number stays, since it is that of the file."""
    network = base_network(tree["settings"])
    upgraded = {**tree, "settings": upgrade_settings(tree["settings"])}
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
    for path, value in point.items():
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
