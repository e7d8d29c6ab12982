"""What a setting may do, declared at the setting: `root: Annotated[str | None, Trait.A_PATH] = None`.

A trait of a group of settings holds for every setting below it. A setting without traits may be searched, stays as it
is once a study has begun, and is part of the teacher's fingerprint if it belongs to the teacher or its scenes.
"""

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, NamedTuple

from pydantic.fields import FieldInfo

from intra_search.config.base import Settings


class Trait(Enum):
    """A property of a setting."""

    CHANGEABLE = "changeable"
    """May differ when a study goes on: its trials stay comparable. So no fingerprint contains it."""
    LOCAL = "local"
    """Says where a machine finds or keeps something, never what is computed. It may differ between machines, so it is
    always `CHANGEABLE`."""
    ONE_FOR_ALL_TRIALS = "one for all trials"
    """Cannot be searched: a searched input size or teacher would make stored knowledge wrong, a searched number of
    epochs would leave the rungs without a common end."""
    ANSWERED_ONCE = "answered once"
    """The teacher's stored answers depend on it, which is why it cannot be searched."""
    A_CHOICE_OF_STORED = "a choice of stored"
    """May be searched though it is `ONE_FOR_ALL_TRIALS`: as a choice of which each value names what is stored already,
    so that each is answered once."""
    A_PATH = "a path"
    """Names a file or folder. A relative path starts where the command is run."""
    OF_A_VIEW = "of a view"
    """Decides what a view of a given scene looks like, so the hash of the views covers it."""
    ADDED_LATER = "added later"
    """Came after studies had been made without it: fingerprints leave it out while it has its default."""


Traits = frozenset[Trait]


class SettingInfo(NamedTuple):
    """One setting, not a group, of a model of settings."""

    path: str
    field: FieldInfo
    traits: Traits
    """Its own and those of the groups above it."""


def group_of(field: FieldInfo) -> type[Settings] | None:
    """The settings below a field; None where the field is a setting itself."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Settings) else None


def all_settings(model: type[Settings], prefix: str = "", inherited: Traits = frozenset()) -> Iterator[SettingInfo]:
    """Every setting of a model, in order."""
    for name, field in model.model_fields.items():
        traits, group = inherited | _declared(field), group_of(field)
        if group is None:
            yield SettingInfo(prefix + name, field, traits)
        else:
            yield from all_settings(group, f"{prefix}{name}.", traits)


def paths_with(model: type[Settings], trait: Trait) -> tuple[str, ...]:
    """Paths of all settings that have a trait."""
    return tuple(setting.path for setting in all_settings(model) if trait in setting.traits)


def traits_of(model: type[Settings], path: str) -> Traits:
    """Traits of a setting or a group of settings; empty for a path that the model does not have."""
    traits: Traits = frozenset()
    group: type[Settings] | None = model
    for part in path.split("."):
        if group is None or part not in group.model_fields:
            return frozenset()
        field = group.model_fields[part]
        traits, group = traits | _declared(field), group_of(field)
    return traits


def fingerprint_tree(settings: Settings, counts: Callable[[Traits], bool]) -> dict[str, Any]:
    """The JSON form of the settings that count, by their traits, in a fingerprint.

    A setting that was added later is left out while it has its default, so that a new release computes the same
    fingerprint for the settings of an old study. A group of which nothing is left is left out too.
    """
    return _counted(settings, settings.model_dump(mode="json"), counts, frozenset())


def _counted(
    settings: Settings, dumped: dict[str, Any], counts: Callable[[Traits], bool], inherited: Traits
) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, field in type(settings).model_fields.items():
        traits, value = inherited | _declared(field), getattr(settings, name)
        if isinstance(value, Settings):
            below = _counted(value, dumped[name], counts, traits)
            if below:
                tree[name] = below
        elif counts(traits) and not (Trait.ADDED_LATER in traits and value == field.get_default()):
            tree[name] = dumped[name]
    return tree


def _declared(field: FieldInfo) -> Traits:
    declared = frozenset(item for item in field.metadata if isinstance(item, Trait))
    return declared | {Trait.CHANGEABLE} if Trait.LOCAL in declared else declared
