"""A study file: base settings, then `[space."path"]` tables and `[[points]]`; and the `--set path=value` overrides."""

import logging
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, time
from pathlib import Path
from typing import Any, NamedTuple

from intra_search.config.limited_toml import MAX_CHARACTERS, parse_limited
from intra_search.config.parsing import parse_settings, set_path, with_overrides
from intra_search.config.paths import absolute_path
from intra_search.config.scenes import DRAWN, unlabelled_entry
from intra_search.config.space import Space, parse_space
from intra_search.config.study import StudySettings
from intra_search.config.traits import Trait, paths_with
from intra_search.config.upgrades import MOVED, upgrade_file
from intra_search.errors import SettingError

logger = logging.getLogger(__name__)

SHIPPED = "shipped:"
"""Begins the name of a checkpoint that comes with the package, which is no path."""


class StudyPlan(NamedTuple):
    """What a study file and its overrides ask for."""

    settings: StudySettings
    space: Space
    given: frozenset[str] = frozenset()
    """Paths of the settings that the file or an override names; those of its space not included."""

    def with_defaults(self, defaults: Mapping[str, Any]) -> "StudyPlan":
        """The plan with other defaults for what it does not name."""
        changes = {path: value for path, value in defaults.items() if path not in self.given}
        if not changes:
            return self
        settings = with_overrides(self.settings, changes)
        points = tuple(point for point in self.space.points if point)
        return self._replace(settings=settings, space=Space(settings, self.space.domains, points))


def load_study(path: Path | str, overrides: Iterable[str] = ()) -> StudyPlan:
    """Reads a TOML study file and applies `path=value` overrides, whose values are parsed as TOML.

    Raises `SettingError` or `SpaceError` naming file, path, rule, value and remedy.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MAX_CHARACTERS + 1)
    except (OSError, ValueError) as error:  # a ValueError: no UTF-8, or a null byte in the path
        reason = getattr(error, "strerror", None) or (
            "not UTF-8 text" if "\0" not in str(path) else "a null byte in it"
        )
        raise SettingError(str(path), "must be a readable TOML file", reason, "check the path") from None
    return parse_study(text, str(path), overrides)


def parse_study(text: str, where: str, overrides: Iterable[str] = ()) -> StudyPlan:
    """`load_study` for text that is already in memory; `where` names it in errors."""
    try:
        tree = parse_limited(text, where)
    except tomllib.TOMLDecodeError as error:
        raise SettingError(where, "must be valid TOML", str(error), "correct that line") from None
    space_tree: dict[str, Any] = {key: tree.pop(key) for key in ("space", "points") if key in tree}
    for override in overrides:
        override_path, value = parse_override(override)
        _set_in_file(tree, override_path, value)
    # After the overrides: they may say which family of students an old setting is of.
    tree, space_tree, moved = upgrade_file(tree, space_tree)
    for old, new in moved.items():
        logger.warning("%s: %s is now %s", where, old, ", ".join(new))
    _resolve_paths(tree)
    _resolve_space_paths(space_tree)
    settings = parse_settings(tree, where)
    space = parse_space(space_tree, settings, where)
    if not space.domains and settings.search.num_trials != 1:
        # One point, one student: more trials would train it again and again.
        settings = with_overrides(settings, {"search.num_trials": 1})
        space = parse_space(space_tree, settings, where)
    return StudyPlan(settings, space, frozenset(_paths_in(tree)))


def _paths_in(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted paths of all values that are no tables."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _paths_in(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _resolve_paths(tree: dict[str, Any]) -> None:
    """Makes local paths absolute: the command's folder is not that of its workers."""
    for path in paths_with(StudySettings, Trait.A_PATH):
        *groups, key = path.split(".")
        node: Any = tree
        for group in groups:
            node = node.get(group) if isinstance(node, dict) else None
        if isinstance(node, dict) and key in node:
            node[key] = _absolute(node[key])


def _resolve_space_paths(tree: dict[str, Any]) -> None:
    """The same for the values and conditions of domains, and for points. What has another form is refused later."""
    domains, points = tree.get("space"), tree.get("points")
    domains = domains if isinstance(domains, dict) else {}
    tables = [domain.get("when") for domain in domains.values() if isinstance(domain, dict)]
    tables += points if isinstance(points, list) else []
    for path in paths_with(StudySettings, Trait.A_PATH):
        searched = domains.get(path)
        if isinstance(searched, dict) and "values" in searched:
            searched["values"] = _absolute(searched["values"])
        for table in tables:
            if isinstance(table, dict) and path in table:
                table[path] = _absolute(table[path])


def _absolute(value: Any) -> Any:
    """A local path, or each of a list, made absolute; anything else as it is."""
    if isinstance(value, list):
        return [_absolute(one) for one in value]
    if not isinstance(value, str) or not value or "://" in value or value.startswith(SHIPPED):
        return value
    reader, path = unlabelled_entry(value)  # entries of scenes.unlabelled may begin with a reader's name
    if reader == DRAWN or not path:
        return value
    path = absolute_path(path)
    return path if reader is None else f"{reader}:{path}"


def parse_override(text: str) -> tuple[str, Any]:
    """Splits `path=value`; the value is TOML, and plain words need no quotes."""
    path, separator, raw = text.partition("=")
    path = path.strip()
    if not separator or not path:
        raise SettingError(f"--set {text}", "must read path=value", repr(text), "for example --set training.epochs=4")
    try:
        value = parse_limited(f"value = {raw}", f"--set {path}")["value"]
    except tomllib.TOMLDecodeError:
        if not raw.strip() or raw.strip()[0] in "[{\"'":
            raise SettingError(f"--set {path}", "value must be TOML", raw, "check quotes and brackets") from None
        return path, raw.strip()
    # A folder may be named like a date.
    return path, raw.strip() if isinstance(value, date | time) else value


def _set_in_file(tree: dict[str, Any], path: str, value: Any) -> None:
    if path in MOVED:
        raise SettingError(
            f"--set {path}", "is a setting of each family of students", path, f"use {' or '.join(MOVED[path])}"
        )
    # An unknown path is refused against the full tree of settings, so that the message lists what exists.
    set_path(_complete_tree(), path, value)
    node = tree
    *groups, key = path.split(".")
    for group in groups:
        node = node.setdefault(group, {})
        if not isinstance(node, dict):
            raise SettingError(f"--set {path}", f"{group} must be a table in the file", repr(node), "correct the file")
    node[key] = value


def _complete_tree() -> dict[str, Any]:
    return StudySettings().model_dump(mode="json")
