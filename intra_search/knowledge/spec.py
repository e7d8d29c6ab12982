"""What must be stored: the union of what the losses of every trial that a space allows may ask of the teacher."""

import json
import math
from collections.abc import Iterator
from typing import Any

from intra_search.config.domains import Domain
from intra_search.config.parsing import with_overrides
from intra_search.config.space import Space
from intra_search.distill.loss import active_terms
from intra_search.distill.needs import Need
from intra_search.distill.terms.table import TERMS
from intra_search.distill.unlabelled import needs_without_labels
from intra_search.errors import SpaceError

MAX_INT_VALUES = 64


def needs_of_space(space: Space) -> frozenset[Need]:
    """Needs of all settings in the space, and of no other.

    A term's needs depend on its own group of settings and on what all terms share (`distill.layers`), so only those
    are combined with each other: 2 groups of 10 combinations cost 20, not 100.
    """
    needs: set[Need] = set()
    for name, term in TERMS.items():
        own = [path for path in space.domains if path.startswith(f"distill.{name}.")]
        shared = [path for path in space.domains if path.startswith("distill.") and path.count(".") == 1]
        for point in _points(space, [*own, *shared]):
            distill = with_overrides(space.base, point).distill
            if name in active_terms(distill):
                needs.update(term.needs_of(distill))
    return frozenset(needs)


def needs_without_labels_of_space(space: Space) -> frozenset[Need]:
    """What trials of the space may ask about frames without labels; empty when none trains on them."""
    switch = space.domains.get("distill.enabled")
    enabled = space.base.distill.enabled if switch is None else switch.contains(True)
    return needs_without_labels(needs_of_space(space), space.base.scenes) if enabled else frozenset()


def _points(space: Space, paths: list[str]) -> Iterator[dict[str, Any]]:
    """Combinations of the given settings only: those that conditions name do not change their needs."""
    seen = set()
    for point in space.combinations(paths, _telling_values):
        told = {path: value for path, value in point.items() if path in paths}
        key = json.dumps(told)
        if key not in seen:
            seen.add(key)
            yield told


def _telling_values(path: str, domain: Domain) -> list[Any]:
    """Values that together show every need. The whole subset needs all that its parts need."""
    if domain.kind == "subset":
        return [domain.values]
    if domain.kind == "float":
        return [domain.high]  # a weight: needs are equal for all above 0
    if domain.kind == "int":
        if domain.num_values() > MAX_INT_VALUES or domain.num_values() == math.inf:
            rule = f"must have at most {MAX_INT_VALUES} values, since each is stored"
            raise SpaceError(f"space.{path}", rule, f"{domain.num_values():.0f}", "raise step, or use a choice")
        return list(range(domain.low, domain.high + 1, domain.step))
    return domain.values
