"""Which scenes are for training (train), for guiding the search (val), and for the final score (test)."""

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256

from intra_search.config.scenes import ScenesSettings
from intra_search.errors import SceneError, SettingError
from intra_search.scenes.source import SPLITS, SceneName, SceneSource, Split


def split_scenes(source: SceneSource, settings: ScenesSettings) -> dict[Split, list[int]]:
    """Indices of each split in the order of the source; every scene is in exactly one split.

    A data set's own split is used if there is one; it may leave a split empty (a partial download), which is an error
    when that split is opened. Else whole groups go to `test` and `val`: those that the settings name, or random ones,
    so that the share of scenes is as near to the wanted one as whole groups allow. The rest is `train`. Random groups
    depend on `scenes.seed` and the groups' names and sizes alone. Raises `SceneError` for an unknown group and for an
    empty split."""
    if source.splits is not None:
        return {split: list(source.splits[split]) for split in SPLITS}
    groups = split_groups(source.scenes, settings)
    chosen: dict[Split, list[int]] = {
        split: [index for index, scene in enumerate(source.scenes) if scene.group in groups[split]] for split in SPLITS
    }
    for split in SPLITS:
        check_not_empty(split, chosen[split])
    return chosen


def check_not_empty(split: Split, indices: Sequence[int]) -> None:
    """Raises `SceneError` for a split without scenes."""
    if not indices:
        rule = f"{split} must hold at least one scene"
        raise SceneError("scenes", rule, "none", "add scenes or groups, or change the settings of the split")


def split_groups(scenes: Sequence[SceneName], settings: ScenesSettings) -> dict[Split, set[str]]:
    """Groups of each split. Raises what `split_scenes` raises."""
    sizes = Counter(scene.group for scene in scenes)
    test, val = set(settings.test_groups), set(settings.val_groups)
    _check_named(sizes, "test_groups", test)
    _check_named(sizes, "val_groups", val)
    if test & val:
        found = ", ".join(sorted(test & val))
        raise SettingError("scenes.val_groups", "no group may be in val and in test", found, "remove it from one")
    if not test:
        # One group must be left for train, and one for val if its groups are not named.
        test = _drawn(sizes, val, settings.test_fraction, reserve=1 if val else 2, seed=f"{settings.seed}/test")
    if not val:
        val = _drawn(sizes, test, settings.val_fraction, reserve=1, seed=f"{settings.seed}/val")
    return {"train": set(sizes) - test - val, "val": val, "test": test}


def val_groups(scenes: Sequence[SceneName], settings: ScenesSettings) -> set[str]:
    """Groups of `val`, for a data set that has its own test split; `scenes` are all others. Raises what `split_scenes`
    raises."""
    sizes = Counter(scene.group for scene in scenes)
    val = set(settings.val_groups)
    _check_named(sizes, "val_groups", val)
    return val or _drawn(sizes, set(), settings.val_fraction, reserve=1, seed=f"{settings.seed}/val")


def _check_named(sizes: Counter[str], field: str, named: set[str]) -> None:
    unknown = sorted(named - set(sizes))
    if unknown:
        remedy = f"groups of this data set: {_listed(sizes)}"
        raise SceneError(f"scenes.{field}", "must name groups of the data set", repr(unknown[0]), remedy)


def _drawn(sizes: Counter[str], taken: set[str], fraction: float, *, reserve: int, seed: str) -> set[str]:
    """Random groups: each in turn is taken if that brings the number of scenes nearer to the wanted share."""
    free = sorted(set(sizes) - taken, key=lambda group: sha256(f"{seed}/{group}".encode()).digest())
    if len(free) <= reserve:
        found = f"{len(sizes)} ({_listed(sizes)})"
        remedy = "add groups, or name the groups in scenes.val_groups and scenes.test_groups so that some remain"
        raise SceneError("scenes", "train, val and test must each get a group of their own", found, remedy)
    wanted = fraction * sizes.total()
    chosen: set[str] = set()
    count = 0
    for group in free:
        nearer = abs(count + sizes[group] - wanted) < abs(count - wanted)
        if nearer and len(chosen) < len(free) - reserve:
            chosen.add(group)
            count += sizes[group]
    return chosen or {min(free, key=lambda group: (sizes[group], group))}


def _listed(sizes: Counter[str]) -> str:
    names = sorted(sizes)
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
