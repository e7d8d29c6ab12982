"""The search space: searched paths of settings with their domains, and the points tried first."""

import itertools
import json
import math
import random
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic import Field, ValidationError

from intra_search.config.base import Settings
from intra_search.config.domains import Asker, Domain, Scalar, identity
from intra_search.config.parsing import get_path, json_text, with_overrides
from intra_search.config.recipes import PAPER_RECIPE
from intra_search.config.student import NETWORK, family_of
from intra_search.config.study import StudySettings
from intra_search.config.traits import Trait, traits_of
from intra_search.errors import SettingError, SpaceError

Point = dict[str, Any]
"""Path of a searched setting to its value; paths whose `when` does not hold are absent."""

MAX_COMBINATIONS = 20_000


class SpaceSize(NamedTuple):
    """How many settings a space holds: `discrete` combinations, each with up to `continuous` real-valued dimensions."""

    discrete: int
    continuous: int

    def __str__(self) -> str:
        reals = f" x {self.continuous} continuous dimensions" if self.continuous else ""
        return f"{self.discrete} discrete settings{reals}"


class _SpaceFile(Settings):
    space: dict[str, Domain] = Field(default_factory=dict)
    points: tuple[dict[str, Any], ...] = ()


class Space:
    """Domains in the order of the file, over the base settings they replace."""

    def __init__(self, base: StudySettings, domains: Mapping[str, Domain], points: tuple[Point, ...] = ()) -> None:
        self.base = base
        self._base_values: Point = {}
        self.domains = {path: _of_its_family(path, domain) for path, domain in domains.items()}
        self._check_paths()
        self._check_corners()
        self._check_reachable()
        self.points = self._fixed_points(points)

    def walk(self, asker: Asker) -> Point:
        """One point: asks for every setting whose condition holds, in file order."""
        point: Point = {}
        for path, domain in self.domains.items():
            if self._applies(domain, point):
                point[path] = domain.ask(path, asker)
        return point

    def encode(self, point: Point) -> dict[str, Scalar]:
        """The scalars with which an asker must answer so that `walk` returns this point."""
        answers: dict[str, Scalar] = {}
        for path, value in point.items():
            answers.update(self.domains[path].encode(path, value))
        return answers

    def holds(self, point: Point) -> bool:
        """Whether `walk` could return this point (it may come from an earlier form of the space)."""
        expected: Point = {}
        for path, domain in self.domains.items():
            if self._applies(domain, expected):
                if path not in point or not domain.contains(point[path]):
                    return False
                expected[path] = point[path]
        return set(expected) == set(point)

    def settings(self, point: Point) -> StudySettings:
        """The base settings with this point's values."""
        return with_overrides(self.base, point, "space")

    def values_of(self, path: str) -> list[Any]:
        """What a setting may be: the values of its choice, the ends of its range, or the base setting where it is not
        searched."""
        return list(self.domains[path].corners()) if path in self.domains else [self._base_value(path)]

    def tables(self) -> dict[str, Any]:
        """The `space` and `points` tables from which `parse_space` makes this space again."""
        domains = {path: domain.model_dump(mode="json") for path, domain in self.domains.items()}
        return {"space": domains, "points": [point for point in self.points if point]}

    def sample(self, rng: random.Random) -> Point:
        """A point drawn at random, each domain uniformly (log-uniformly with `log`)."""
        return self.walk(_RandomAsker(rng))

    def size(self) -> SpaceSize:
        """Counts distinct settings. Continuous domains count as one value each and as a dimension."""
        continuous = sum(domain.num_values() == math.inf for domain in self.domains.values())
        return SpaceSize(sum(self._free_settings(branch) for branch in self._branches()), continuous)

    def _free_settings(self, branch: Point) -> int:
        """Combinations of the settings that no condition names, within one branch."""
        deciding = self._deciding()
        free = [d for path, d in self.domains.items() if path not in deciding and self._applies(d, branch)]
        return math.prod(1 if domain.num_values() == math.inf else int(domain.num_values()) for domain in free)

    def _deciding(self) -> set[str]:
        return {path for domain in self.domains.values() for path in domain.when if path in self.domains}

    def _branches(self) -> list[Point]:
        """Every combination of the settings that conditions name."""
        return self.combinations(set(), _listed_values)

    def combinations(self, paths: Iterable[str], values: Callable[[str, Domain], list[Any]]) -> list[Point]:
        """Every combination of some settings and of those that conditions name.

        `values(path, domain)` lists what the former may be; the latter take all their values. Raises `SpaceError` when
        there are too many.
        """
        deciding = self._deciding()
        wanted = {*paths, *deciding}
        points: list[Point] = [{}]
        for path, domain in ((path, domain) for path, domain in self.domains.items() if path in wanted):
            listed = _listed_values(path, domain) if path in deciding else values(path, domain)
            grown: list[Point] = []
            for point in points:
                applies = self._applies(domain, point)
                grown += [{**point, path: value} for value in listed] if applies else [point]
            if len(grown) > MAX_COMBINATIONS:
                rule = f"settings that others depend on may have {MAX_COMBINATIONS} combinations"
                raise SpaceError(f"space.{path}", rule, f"{len(grown)} or more", "let fewer settings decide")
            points = grown
        return points

    def _applies(self, domain: Domain, point: Point) -> bool:
        return all(self._matches(path, wanted, point) for path, wanted in domain.when.items())

    def _matches(self, path: str, wanted: Any, point: Point) -> bool:
        if path in self.domains and path not in point:
            return False  # a condition on a setting that is itself not searched here
        value = point[path] if path in point else self._base_value(path)
        return _matches(value, wanted)

    def _base_value(self, path: str) -> Any:
        # Asked for every trial that the sampler is told; dumping the settings each time costs 10,000 trials seconds.
        if path not in self._base_values:
            self._base_values[path] = get_path(self.base, path)
        return self._base_values[path]

    def _check_paths(self) -> None:
        seen: set[str] = set()
        for path, domain in self.domains.items():
            if isinstance(self._base_value(path), dict):
                remedy = "name one of its settings"
                raise SpaceError(f"space.{path}", "must be one setting", "a group of settings", remedy)
            traits = traits_of(StudySettings, path)
            if Trait.A_CHOICE_OF_STORED in traits:
                self._check_stored(path, domain)
            elif Trait.ONE_FOR_ALL_TRIALS in traits:
                rule = "must be the same in all trials of a study"
                if Trait.ANSWERED_ONCE in traits:
                    rule += ", since the teacher's answers about each view are made once"
                raise SpaceError(f"space.{path}", rule, "a domain", "set it once, outside the space")
            for condition, wanted in domain.when.items():
                self._base_value(condition)
                if condition in self.domains and condition not in seen:
                    where = f"space.{path}.when"
                    raise SpaceError(where, "may name only settings above it", condition, f"move {condition} up")
                self._check_condition(path, condition, wanted)
            seen.add(path)

    def _check_condition(self, path: str, condition: str, wanted: Any) -> None:
        options = [wanted, *(wanted if isinstance(wanted, list) else [])]
        if condition in self.domains:
            possible = any(self.domains[condition].contains(value) for value in options)
        else:
            possible = _matches(self._base_value(condition), wanted)
        if not possible:
            where, found = f"space.{path}.when", f"{condition} = {json.dumps(wanted)}"
            equal = [known for value in options for known in self._equal_values(condition, value)]
            remedy = f"write {json.dumps(equal[0])}" if equal else "no setting matches; correct it"
            if condition == NETWORK and wanted == family_of(path):
                remedy = f"no setting matches; {path} needs {NETWORK} = {wanted} in the space or beside it"
            raise SpaceError(where, "must hold for some setting of the space", found, remedy)

    def _equal_value(self, path: str, value: Any, where: str, *, is_given: bool) -> Any:
        """What a choice calls 1 of a setting of 1.0; a point of the file must say what it means."""
        equal = self._equal_values(path, value)
        if equal and not is_given:
            return equal[0]
        found, remedy = f"{path} = {json.dumps(value)}", f'widen [space."{path}"] or change the base setting'
        raise SpaceError(where, "must lie in the space", found, f"write {json.dumps(equal[0])}" if equal else remedy)

    def _equal_values(self, path: str, value: Any) -> list[Any]:
        """What a setting may be that Python calls equal to a value, as it does 1 and 1.0."""
        return [known for known in self.values_of(path) if known == value]

    def _check_stored(self, path: str, domain: Domain) -> None:
        """Each value names something stored, and so does the base setting, which counts where `when` does not hold."""
        where = f"space.{path}"
        if domain.kind != "choice" or not all(isinstance(value, str) for value in domain.values):
            found = json.dumps(domain.values) if domain.kind == "choice" else domain.kind
            remedy = 'use kind = "choice", each value a path, URI or shipped name'
            raise SpaceError(where, "may be searched only as a choice of what is stored", found, remedy)
        base = self._base_value(path)
        if not domain.contains(base):
            found, remedy = f"{path} = {json.dumps(base)}", f"set {path} to one of the values"
            raise SpaceError(where, "must hold the base setting", found, remedy)

    def _check_corners(self) -> None:
        """Every corner of every domain must be a valid setting, so that no trial fails on it hours later."""
        for path, domain in self.domains.items():
            for value in domain.corners():
                try:
                    with_overrides(self.base, {path: value})
                except SettingError as error:
                    found = json.dumps(value)
                    raise SpaceError(f"space.{path}", error.rule, found, "narrow the domain") from None

    def _check_reachable(self) -> None:
        """Conditions that hold one by one may still never hold together."""
        conditional = {path: domain for path, domain in self.domains.items() if domain.when}
        for branch in self._branches():
            conditional = {path: domain for path, domain in conditional.items() if not self._applies(domain, branch)}
        for path, domain in conditional.items():
            where, found = f"space.{path}.when", json.dumps(domain.when)
            raise SpaceError(where, "must hold for some setting of the space", found, "no setting matches; correct it")

    def _fixed_points(self, points: tuple[Point, ...]) -> tuple[Point, ...]:
        """The paper's recipe, then the file's own points, each completed from the base settings."""
        if not self.domains:
            if points:
                raise SpaceError("points", "need a space whose settings they fix", str(points[0]), "add [space] tables")
            return ({},)
        paper = self._completed({}, "the paper's recipe (trial 0)", PAPER_RECIPE)
        completed = {identity(paper): paper}
        for number, given in enumerate(points):
            unknown = [path for path in given if path not in self.domains]
            if unknown:
                rule = "may hold only settings of the space"
                raise SpaceError(f"points[{number}]", rule, unknown[0], f'add [space."{unknown[0]}"] or remove it')
            point = self._completed(given, f"points[{number}]")
            completed.setdefault(identity(point), point)
        return tuple(completed.values())

    def _completed(self, given: Point, where: str, others: Mapping[str, Any] = MappingProxyType({})) -> Point:
        """A point with the given values, then `others`, then those of the base settings."""
        point: Point = {}
        for path, domain in self.domains.items():
            if not self._applies(domain, point):
                continue
            value = given[path] if path in given else others.get(path, self._base_value(path))
            if not domain.contains(value):
                value = self._equal_value(path, value, where, is_given=path in given)
            point[path] = value
        return point


def parse_space(tree: Mapping[str, Any], base: StudySettings, where: str = "space") -> Space:
    """Validates the `space` and `points` tables of a study file."""
    try:
        parsed = _SpaceFile.model_validate_json(json_text(tree, where))
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        rule = first["msg"].removeprefix("Value error, ")
        if first["type"] == "union_tag_not_found":
            rule, remedy = "must have a kind", 'write [space."group.setting"], the path in quotes, and its kind'
            raise SpaceError(f"{where}: {path}", rule, "none", remedy) from None
        raise SpaceError(f"{where}: {path}", rule, repr(first["input"]), "see search_spaces/quickstart.toml") from None
    return Space(base, parsed.space, parsed.points)


def _matches(value: Any, wanted: Any) -> bool:
    """Whether a setting has a condition's value, or one of its values."""
    options = [wanted, *(wanted if isinstance(wanted, list) else [])]
    return identity(value) in map(identity, options)


def _of_its_family(path: str, domain: Domain) -> Domain:
    """A domain below `student.<family>.` is searched only where the student is of that family."""
    family = family_of(path)
    if family is None:
        return domain
    wanted = domain.when.get(NETWORK, family)
    if wanted != family and not (isinstance(wanted, list) and family in wanted):
        rule = f"a setting of {family} is searched where {NETWORK} is {family}"
        raise SpaceError(f"space.{path}.when", rule, json.dumps(wanted), f"remove {NETWORK} from it")
    return domain.model_copy(update={"when": {**domain.when, NETWORK: family}})


class _RandomAsker:
    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def float(self, name: str, low: float, high: float, *, log: bool) -> float:
        if log:
            drawn = math.exp(self._rng.uniform(math.log(low), math.log(high)))
            return min(max(drawn, low), high)
        return min(max(self._rng.uniform(low, high), low), high)  # rounding may step over an end

    def int(self, name: str, low: int, high: int, *, log: bool, step: int) -> int:
        if log:
            drawn = math.exp(self._rng.uniform(math.log(low), math.log(high + 1)))
            return min(max(math.floor(drawn), low), high)
        return self._rng.randrange(low, high + 1, step)

    def choice(self, name: str, options: tuple[Scalar, ...]) -> Scalar:
        return self._rng.choice(options)


def _listed_values(path: str, domain: Domain) -> list[Any]:
    """All values of a domain on which another one depends."""
    if domain.num_values() > MAX_COMBINATIONS:
        raise SpaceError(f"space.{path}", "a setting named by `when` must have few values", domain.kind, "use a choice")
    if domain.kind == "int":
        return list(range(domain.low, domain.high + 1, domain.step))
    if domain.kind == "subset":
        subsets = (itertools.combinations(domain.values, k) for k in range(domain.min_size, len(domain.values) + 1))
        return [list(values) for values in itertools.chain.from_iterable(subsets)]
    return list(domain.corners())
