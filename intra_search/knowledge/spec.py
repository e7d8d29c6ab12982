"""What must be stored: the union of what the losses of every trial that a space allows may ask of the teacher."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

from intra_search.config.domains import Domain
from intra_search.config.settings import with_overrides
from intra_search.config.space import Space
from intra_search.distill.needs import Need
from intra_search.distill.objective import needs_of
from intra_search.errors import SpaceError

MAX_INT_VALUES = 64


def needs_of_space(space: Space) -> frozenset[Need]:
    """Needs of all settings in the space.

    A term's needs depend on its own group of settings and on what all terms share (`distill.layers`), so only those
    are combined with each other: 2 groups of 10 combinations cost 20, not 100.
    """
    groups: dict[str, dict[str, Domain]] = {}
    shared: dict[str, Domain] = {}
    for path, domain in space.domains.items():
        parts = path.split(".")
        if parts[0] == "distill" and len(parts) > 2:
            groups.setdefault(parts[1], {})[path] = domain
        elif parts[0] == "distill":
            shared[path] = domain
    needs: frozenset[Need] = frozenset()
    for group in [{}, *groups.values()]:
        for overrides in _combinations({**shared, **group}):
            needs |= needs_of(with_overrides(space.base, overrides).distill)
    return needs


def _combinations(domains: dict[str, Domain]) -> Iterator[dict[str, Any]]:
    values = [_telling_values(path, domain) for path, domain in domains.items()]
    for chosen in itertools.product(*values):
        yield dict(zip(domains, chosen, strict=True))


def _telling_values(path: str, domain: Domain) -> list[Any]:
    """Values that together show every need. The whole subset needs all that its parts need."""
    if domain.kind == "subset":
        return [domain.values]
    if domain.kind == "float":
        return [domain.high]  # a weight: above 0 it needs what it needs
    if domain.kind == "int":
        if domain.num_values() > MAX_INT_VALUES or domain.num_values() == math.inf:
            rule = f"must have at most {MAX_INT_VALUES} values, since each is stored"
            raise SpaceError(f"space.{path}", rule, f"{domain.num_values():.0f}", "raise step, or use a choice")
        return list(range(domain.low, domain.high + 1, domain.step))
    return domain.values
