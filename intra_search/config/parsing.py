"""Settings from trees as TOML and JSON hold them, and single settings by their paths. Errors name the path."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from intra_search.config.base import BrokenRuleError, Settings
from intra_search.config.scenes import AugmentSettings
from intra_search.config.study import StudySettings
from intra_search.errors import SettingError

VIEWS_THAT_DIFFER = 4
"""Default of `scenes.views` where views differ: with 4, settings rank as with fresh views; with 1, less so."""


def parse_settings(tree: Mapping[str, Any], where: str = "settings") -> StudySettings:
    """Validates a nested dict as read from TOML. Raises `SettingError` naming the first wrong path."""
    try:
        # By way of JSON, where strict mode still takes lists for tuples.
        settings = StudySettings.model_validate_json(json_text(_with_implied_mode(tree), where))
    except ValidationError as error:
        raise _setting_error(error, where) from None
    scenes = settings.scenes
    if "views" in scenes.model_fields_set or scenes.augment == AugmentSettings():
        return settings
    return settings.model_copy(update={"scenes": scenes.model_copy(update={"views": VIEWS_THAT_DIFFER})})


def _with_implied_mode(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fresh views imply a live teacher, unless the mode is said; `stored` is refused then."""
    scenes, knowledge = tree.get("scenes"), tree.get("knowledge", {})
    fresh = isinstance(scenes, Mapping) and scenes.get("views") == "fresh"
    return {**tree, "knowledge": {"mode": "live", **knowledge}} if fresh and isinstance(knowledge, Mapping) else tree


def json_text(tree: Any, where: str) -> str:
    """JSON of a tree read from TOML, whose dates and times no setting takes; nor deep nesting, nor huge numbers."""

    def refuse(value: object) -> None:
        raise SettingError(where, "no setting is a date or a time", str(value), "put it in quotes if it is a word")

    try:
        return json.dumps(tree, default=refuse)
    except (RecursionError, ValueError):
        found, remedy = "deep nesting or a number of thousands of digits", "no setting needs them; correct it"
        raise SettingError(where, "must hold plain values", found, remedy) from None


def with_overrides(settings: StudySettings, overrides: Mapping[str, Any], where: str = "settings") -> StudySettings:
    """New settings with dotted paths replaced; everything is validated again.

    Raises `SettingError` for a value that is not heeded: one that `distill.preset` sets, too."""
    tree = settings.model_dump(mode="json")
    for path, value in overrides.items():
        set_path(tree, path, value)
    found = parse_settings(tree, where)
    _check_heeded(found, overrides)
    return found


def _check_heeded(found: StudySettings, overrides: Mapping[str, Any]) -> None:
    preset = found.distill.preset
    tree = found.model_dump(mode="json")
    for path, value in overrides.items():
        taken = _at_path(tree, path)
        # A value that is the default looks like one that was not given, so a preset has replaced it.
        is_one = path.startswith("distill.") and not isinstance(taken, dict)
        if preset != "none" and is_one and json.loads(json_text(value, path)) != taken:
            rule = f'distill.preset = "{preset}" sets it to {taken}'
            raise SettingError(
                path, rule, value, 'leave it out, or set distill.preset to "none" and every term yourself'
            )


def set_path(tree: dict[str, Any], path: str, value: Any) -> None:
    """Replaces one known path in a dumped tree of settings; raises `SettingError` for an unknown one."""
    parent, _, key = path.rpartition(".")
    _at_path(tree, path)
    (_at_path(tree, parent) if parent else tree)[key] = value


def get_path(settings: StudySettings, path: str) -> Any:
    """Value of one dotted path, in its JSON form (lists for tuples)."""
    return _at_path(settings.model_dump(mode="json"), path)


def _at_path(tree: dict[str, Any], path: str) -> Any:
    node: Any = tree
    parts = path.split(".")
    for depth, part in enumerate(parts):
        if not isinstance(node, dict) or part not in node:
            parent = ".".join(parts[:depth])
            known = ", ".join(sorted(node)) if isinstance(node, dict) else "no settings below it"
            raise SettingError(path, "unknown setting", repr(part), f"{parent or 'a study'} has: {known}")
        node = node[part]
    return node


def _setting_error(error: ValidationError, where: str) -> SettingError:
    first = error.errors()[0]
    broken = first.get("ctx", {}).get("error")
    if isinstance(broken, BrokenRuleError):
        return SettingError(f"{where}: {broken.path}", broken.rule, broken.found, broken.remedy)
    path = _path_of(first["loc"])
    # A setting of two types, such as a number or "auto", breaks a rule of each.
    rules = [other["msg"].removeprefix("Value error, ") for other in error.errors() if _path_of(other["loc"]) == path]
    num_others = error.error_count() - len(rules)
    more = f" (and {num_others} more)" if num_others else ""
    if first["type"] == "extra_forbidden":
        known = ", ".join(_known_keys(first["loc"][:-1]))
        return SettingError(f"{where}: {path}", "unknown setting", repr(first["loc"][-1]), f"known here: {known}{more}")
    rule = " or ".join(rules)
    found = "this group of settings" if isinstance(first["input"], dict) else repr(first["input"])
    return SettingError(f"{where}: {path}", rule, found, f"correct {path}{more}")


def _path_of(location: tuple[int | str, ...]) -> str:
    """Path of a setting; behind it pydantic names the types it tried, which are no settings."""
    parts: list[str] = []
    model: Any = StudySettings
    for part in location:
        if model is not None or isinstance(part, int):
            parts.append(str(part))
        field = model.model_fields.get(str(part)) if model is not None else None
        is_group = field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, Settings)
        model = field.annotation if field is not None and is_group else None
    return ".".join(parts) or "study"


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    model: Any = StudySettings
    for part in location:
        model = model.model_fields[str(part)].annotation
    return sorted(model.model_fields)
