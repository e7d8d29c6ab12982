"""Whether the losses of every trial can be built, found out before a study begins."""

import json
from collections.abc import Mapping
from typing import Any, cast

import torch

from intra_search.config.domains import Domain
from intra_search.config.parsing import with_overrides
from intra_search.config.space import Space
from intra_search.config.study import StudySettings
from intra_search.distill.loss import active_terms
from intra_search.distill.term import TermContext
from intra_search.distill.terms.table import TERMS
from intra_search.networks.build import build_network

NUM_CLASSES = 2
"""Features and their channels do not depend on it."""


def check_terms(space: Space) -> None:
    """Raises `SettingError`, naming network and feature, when a trial's terms name one that the network does not have.

    As in `needs_of_space`, only settings that meet in one term are combined.
    """
    channels: dict[str, Mapping[str, int]] = {}
    for name, term in TERMS.items():
        paths = {path for path in space.domains if path.startswith(f"distill.{name}.") or _is_shared(path)}
        points = space.combinations(paths, _telling_values)
        told = [{path: value for path, value in point.items() if path in paths} for point in points]
        for text in sorted({json.dumps(point) for point in told}):
            settings = with_overrides(space.base, json.loads(text))
            if name in active_terms(settings.distill):
                context = TermContext(
                    NUM_CLASSES,
                    _student(settings, channels),
                    _teacher(settings, channels),
                    f"student {settings.student.network}",
                    f"teacher {settings.teacher.network}",
                )
                with torch.device("meta"):  # nothing is allocated
                    term(settings.distill, context)


def _is_shared(path: str) -> bool:
    return path == "student.network" or (path.startswith("distill.") and path.count(".") == 1)


def _telling_values(path: str, domain: Domain) -> list[Any]:
    """Numbers do not change which features are used, except a weight of 0."""
    if domain.kind == "subset":
        return [domain.values]
    if domain.kind == "float" or domain.kind == "int":
        return [domain.high]
    return domain.values


def _student(settings: StudySettings, known: dict[str, Mapping[str, int]]) -> Mapping[str, int]:
    return _channels(settings.student.network, settings.student.options(), known)


def _teacher(settings: StudySettings, known: dict[str, Mapping[str, int]]) -> Mapping[str, int]:
    return _channels(settings.teacher.network, settings.teacher.options.model_dump(), known)


def _channels(name: str, options: dict[str, Any], known: dict[str, Mapping[str, int]]) -> Mapping[str, int]:
    if name not in known:
        with torch.device("meta"):
            known[name] = cast(dict[str, int], build_network(name, NUM_CLASSES, **options).feature_channels)
    return known[name]
