"""Search spaces: every domain kind, conditions, fixed points, sizes counted against brute force."""

import json
import math
import random
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from intra_search.config.domains import ChoiceDomain, Domain, FloatDomain, IntDomain, Scalar, SubsetDomain
from intra_search.config.parsing import get_path, with_overrides
from intra_search.config.recipes import PAPER_RECIPE
from intra_search.config.space import Point, Space
from intra_search.config.study import StudySettings
from intra_search.config.study_file import parse_study
from intra_search.config.traits import Trait, paths_with
from intra_search.errors import IntraSearchError, SpaceError
from intra_search.store.study_folder import without_none

SHIPPED = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.toml"))


class ListingAsker:
    """Plays every possible answer once: depth-first over the questions, floats at both ends."""

    def __init__(self) -> None:
        self._path: list[tuple[list[Scalar], int]] = []
        self._depth = 0

    def walks(self, space: Space) -> Iterator[Point]:
        while True:
            self._depth = 0
            yield space.walk(self)
            while self._path and self._path[-1][1] + 1 == len(self._path[-1][0]):
                self._path.pop()
            if not self._path:
                return
            options, taken = self._path.pop()
            self._path.append((options, taken + 1))

    def float(self, name: str, low: float, high: float, *, log: bool) -> float:
        return self._next([low] if low == high else [low, high])  # type: ignore[return-value]

    def int(self, name: str, low: int, high: int, *, log: bool, step: int) -> int:
        return self._next(list(range(low, high + 1, step)))  # type: ignore[return-value]

    def choice(self, name: str, options: tuple[Scalar, ...]) -> Scalar:
        return self._next(list(options))

    def _next(self, options: list[Any]) -> Scalar:
        if self._depth == len(self._path):
            self._path.append((options, 0))
        answer = self._path[self._depth]
        self._depth += 1
        return answer[0][answer[1]]


class KnownAnswers:
    """Answers from `Space.encode`, and notes which questions were asked."""

    def __init__(self, answers: dict[str, Scalar]) -> None:
        self._answers = answers
        self.asked: list[str] = []

    def float(self, name: str, low: float, high: float, *, log: bool) -> float:
        return self._answer(name)  # type: ignore[return-value]

    def int(self, name: str, low: int, high: int, *, log: bool, step: int) -> int:
        return self._answer(name)  # type: ignore[return-value]

    def choice(self, name: str, options: tuple[Scalar, ...]) -> Scalar:
        answer = self._answer(name)
        assert answer in options
        return answer

    def _answer(self, name: str) -> Scalar:
        self.asked.append(name)
        return self._answers[name]


def space_of(text: str, *overrides: str) -> Space:
    return parse_study(text, "my.toml", overrides).space


def refused(text: str, *overrides: str) -> str:
    with pytest.raises(IntraSearchError) as caught:
        space_of(text, *overrides)
    line = str(caught.value)
    assert "\n" not in line
    return line


def table(path: str, **domain: Any) -> str:
    """One `[space."path"]` table as TOML."""
    return tomli_w.dumps({"space": {path: domain}})


# Domains with their own values, independent of any setting.
FINITE = st.floats(-1e6, 1e6)
SCALARS = st.one_of(st.integers(-5, 5), st.text("ab", max_size=3), st.booleans(), st.floats(-2, 2))


@st.composite
def float_domains(draw: st.DrawFn) -> FloatDomain:
    log = draw(st.booleans())
    low, high = sorted(draw(st.tuples(*[st.floats(1e-9, 1e6) if log else FINITE] * 2)))
    return FloatDomain(kind="float", low=low, high=high, log=log)


@st.composite
def int_domains(draw: st.DrawFn) -> IntDomain:
    log = draw(st.booleans())
    low, count = draw(st.integers(1 if log else -9, 9)), draw(st.integers(0, 6))
    step = 1 if log else draw(st.integers(1, 4))
    return IntDomain(kind="int", low=low, high=low + count * step, step=step, log=log)


@st.composite
def choice_domains(draw: st.DrawFn) -> ChoiceDomain:
    values = st.one_of(SCALARS, st.lists(st.integers(0, 3), max_size=2))
    return ChoiceDomain(kind="choice", values=draw(st.lists(values, min_size=1, max_size=4, unique_by=repr_of_choice)))


@st.composite
def subset_domains(draw: st.DrawFn) -> SubsetDomain:
    values: list[Scalar] = [*draw(st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True))]
    return SubsetDomain(kind="subset", values=values, min_size=draw(st.integers(0, len(values))))


def repr_of_choice(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value


DOMAINS = st.one_of(float_domains(), int_domains(), choice_domains(), subset_domains())


class BareSpace(Space):
    """A space whose paths are no settings: a domain's own arithmetic is tested without their rules."""

    def __init__(self, domains: dict[str, Domain]) -> None:
        self.base = StudySettings()
        self.domains = domains
        self._base_values: dict[str, Any] = {}


@given(DOMAINS, st.integers(0, 2**32))
@settings(deadline=None)
def test_sample_lies_in_the_domain_and_replay_returns_it(domain: Domain, seed: int) -> None:
    space = BareSpace({"x": domain})
    point = space.sample(random.Random(seed))
    assert domain.contains(point["x"])
    assert space.holds(point)
    known = KnownAnswers(space.encode(point))
    assert space.walk(known) == point
    assert len(set(known.asked)) == len(known.asked)


@given(DOMAINS)
@settings(deadline=None)
def test_number_of_values_equals_their_list(domain: Domain) -> None:
    listed = [json.dumps(point["x"]) for point in ListingAsker().walks(BareSpace({"x": domain}))]
    assert len(set(listed)) == len(listed)
    if domain.kind == "float":
        assert domain.num_values() == (math.inf if domain.low < domain.high else 1)
    else:
        assert domain.num_values() == len(listed)
    assert {json.dumps(corner) for corner in domain.corners()} <= set(listed)
    assert all(domain.contains(json.loads(value)) for value in listed)


@pytest.mark.parametrize(
    ("domain", "outside"),
    [
        (FloatDomain(kind="float", low=0.5, high=2.0), [0.4, 2.1, "1", True, None, [1.0]]),
        (IntDomain(kind="int", low=1, high=7, step=2), [0, 2, 8, 3.0, True, "3", None]),
        (ChoiceDomain(kind="choice", values=["a", [1, 2]]), ["b", [2, 1], [1], None]),
        (SubsetDomain(kind="subset", values=[3, 1, 2], min_size=2), [[3], [1, 3], [3, 3, 1], [3, 4], 3, "31", None]),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_what_a_domain_does_not_contain(domain: Domain, outside: list[Any]) -> None:
    assert [value for value in outside if domain.contains(value)] == []


def test_log_samples_spread_over_decades() -> None:
    space = BareSpace({"x": FloatDomain(kind="float", low=1e-4, high=1.0, log=True)})
    rng = random.Random(1)
    below = sum(space.sample(rng)["x"] < 1e-2 for _ in range(1000))
    assert 430 < below < 570  # 500 expected, standard deviation 16


def test_subset_is_completed_without_asking_when_it_must_be() -> None:
    domain = SubsetDomain(kind="subset", values=[1, 2, 3], min_size=2)
    known = KnownAnswers({"x[1]": False, "x[2]": False, "x[3]": False})
    assert BareSpace({"x": domain}).walk(known) == {"x": [2, 3]}
    assert known.asked == ["x[1]"]


SMALL = (
    table("student.network", kind="choice", values=["erfnet", "enet", "resnet18"])
    + table("student.erfnet.blocks", kind="choice", values=[[5, 8], [2, 3]])
    + table("student.enet.blocks", kind="choice", values=[[5, 8], [2, 3]], when={"student.network": ["enet", "never"]})
    + table("distill.enabled", kind="choice", values=[True, False])
    + table("distill.affinity.orders", kind="subset", values=[1, 2, 3, 4], when={"distill.enabled": True})
    + table("distill.affinity.kernel_size", kind="int", low=3, high=7, step=2, when={"student.enet.blocks": [[2, 3]]})
    + table("distill.attention.weight", kind="float", low=0.01, high=1.0, log=True, when={"distill.enabled": True})
    + table("training.learning_rate", kind="choice", values=[0.01, 0.1], when={"student.erfnet.width": 1.0})
)


def settings_without_reals(space: Space) -> set[str]:
    reals = [path for path, domain in space.domains.items() if domain.kind == "float"]
    points = ListingAsker().walks(space)
    return {json.dumps({path: value for path, value in point.items() if path not in reals}) for point in points}


def test_size_by_hand_and_by_listing() -> None:
    space = space_of(SMALL)
    # (resnet18: 1; erfnet: 2 blocks; enet: 1 of its blocks + the other with 3 kernels) x (15 subsets with distillation
    # + 1 without) x 2 rates
    assert space.size() == ((1 + 2 + (1 + 3)) * 16 * 2, 1)
    assert space.size().discrete == len(settings_without_reals(space))
    assert str(space.size()) == "224 discrete settings x 1 continuous dimensions"


class RecipeFree(Space):
    """A space that need not hold the paper's recipe."""

    def _fixed_points(self, points: tuple[Point, ...]) -> tuple[Point, ...]:
        return ()


BASE = with_overrides(StudySettings(), {"training.weight_decay": 0.0})
CANDIDATES: dict[str, dict[str, Any]] = {
    "student.network": {"kind": "choice", "values": ["erfnet", "resnet18"]},
    "distill.enabled": {"kind": "choice", "values": [True, False]},
    "distill.affinity.orders": {"kind": "subset", "values": [1, 2, 3], "min_size": 2},
    "distill.affinity.kernel_size": {"kind": "int", "low": 3, "high": 7, "step": 2},
    "training.weight_decay": {"kind": "float", "low": 0.0, "high": 0.1},
    "student.erfnet.blocks": {"kind": "choice", "values": [[5, 8], [1, 1]]},
}
WANTED: dict[str, list[Any]] = {
    "student.network": ["erfnet", ["resnet18", "never"]],
    "distill.enabled": [True, False],
    "distill.affinity.orders": [[2, 3], [[1, 2, 3], [1, 2]]],
    "distill.affinity.kernel_size": [5, [3, 7]],
    "student.erfnet.blocks": [[1, 1], [[5, 8]]],
    "training.weight_decay": [],
}


@st.composite
def small_spaces(draw: st.DrawFn) -> Space:
    """Up to five domains, each perhaps under conditions on those above it or on base settings."""
    order = draw(st.lists(st.sampled_from(sorted(CANDIDATES)), unique=True, min_size=1, max_size=5))
    order.sort(key=lambda path: path.startswith("student.erfnet."))  # the network stands above its families' settings
    domains = {}
    for number, path in enumerate(order):
        above = [condition for condition in order[:number] if WANTED[condition]]
        conditions = draw(st.lists(st.sampled_from(above), unique=True, max_size=2)) if above else []
        when: dict[str, Any] = {condition: draw(st.sampled_from(WANTED[condition])) for condition in conditions}
        if draw(st.booleans()):
            when["training.amp"] = ["auto", "off"]
        domains[path] = TypeAdapter(Domain).validate_python({**CANDIDATES[path], "when": when})
    try:
        return RecipeFree(BASE, domains)
    except SpaceError as error:
        # Conditions were drawn blindly: they may exclude each other, or a family's own condition on the network.
        assert re.search("no setting matches|is searched where student.network is", str(error))  # noqa: PT017
        reject()


@given(small_spaces(), st.integers(0, 2**32))
@settings(deadline=None, max_examples=60)
def test_any_small_space_is_counted_sampled_and_replayed(space: Space, seed: int) -> None:
    listed = settings_without_reals(space)
    assert space.size().discrete == len(listed)
    rng = random.Random(seed)
    for _ in range(10):
        point = space.sample(rng)
        assert space.holds(point)
        assert space.walk(KnownAnswers(space.encode(point))) == point
        rest = {path: value for path, value in point.items() if space.domains[path].kind != "float"}
        assert json.dumps(rest) in listed
        assert all(get_path(space.settings(point), path) == value for path, value in point.items())
        for path in point:
            assert not space.holds({other: value for other, value in point.items() if other != path})


def test_condition_that_never_holds_jointly_is_unreachable() -> None:
    """`b` is searched with a = 1 alone, so a condition on b and a = 2 never holds."""
    text = (
        table("student.network", kind="choice", values=["erfnet", "enet"])
        + table("training.momentum", kind="choice", values=[0.9, 0.5], when={"student.network": "erfnet"})
        + table(
            "training.poly_power",
            kind="choice",
            values=[0.9],
            when={"student.network": "enet", "training.momentum": 0.5},
        )
    )
    assert "no setting matches" in refused(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            table("training.epoch", kind="int", low=1, high=2),
            "training.epoch: unknown setting, found 'epoch'; training has: amp",
        ),
        (table("distill.affinity", kind="choice", values=[{}]), "space.distill.affinity: must be one setting"),
        ("[space.training.momentum]\nkind = 'float'", 'space.training: must have a kind, found none; write [space."'),
        (table("training.momentum", kind="flat"), "'flat'"),
        (table("training.momentum", kind="float", low=0.1), "high: Field required"),
        (table("training.momentum", kind="float", low=0.1, high=0.2, step=1), "step: Extra inputs"),
        (table("training.momentum", kind="float", low=0.3, high=0.2), "low must be at most high"),
        (table("training.momentum", kind="float", low=0.0, high=0.2, log=True), "low must be > 0 with log = true"),
        (table("training.momentum", kind="float", low=0.0, high=float("inf")), "finite"),
        (
            table("training.momentum", kind="float", low=0.5, high=1.0),
            "space.training.momentum: Input should be less than 1, found 1.0",
        ),
        (table("training.momentum", kind="choice", values=[]), "at least 1 item"),
        (table("scenes.seed", kind="choice", values=list(range(1001))), "at most 1000 items"),
        (table("training.momentum", kind="choice", values=[0.5, 0.5]), "values must differ"),
        (table("training.weight_decay", kind="int", low=1, high=4, step=2), "multiple of step"),
        (table("training.weight_decay", kind="int", low=1, high=3, step=2, log=True), "step must be 1 with log = true"),
        (table("distill.affinity.kernel_size", kind="int", low=3, high=7), "kernel_size must be odd, got 4"),
        (table("distill.affinity.orders", kind="subset", values=[1, 2, 3], min_size=0), "non-empty subset"),
        (table("distill.affinity.orders", kind="subset", values=[1, 2, 3], min_size=4), "min_size must be at most 3"),
        (table("distill.affinity.orders", kind="subset", values=[1, 2, 9]), "non-empty subset of 1..6"),
        (
            table("distill.affinity.orders", kind="subset", values=[1, 2]),
            "the paper's recipe (trial 0): must lie in the space",
        ),
        (
            table("distill.affinity.weight", kind="float", low=0.2, high=1.0),
            "must lie in the space, found distill.affinity.weight = 0.1",
        ),
        (
            table("student.erfnet.width", kind="choice", values=[0.5]),
            "must lie in the space, found student.erfnet.width = 1.0",
        ),
        (
            table("training.momentum", kind="choice", values=[0.9], when={"student.network": "enet"}),
            "no setting matches; correct it",
        ),
        (
            table("student.enet.width", kind="choice", values=[1.0]),
            'student.enet.width.when: must hold for some setting of the space, found student.network = "enet"; no '
            "setting matches; student.enet.width needs student.network = enet in the space or beside it",
        ),
        (
            table("student.erfnet.width", kind="choice", values=[1.0], when={"student.network": "enet"}),
            "student.erfnet.width.when: a setting of erfnet is searched where student.network is erfnet, found "
            '"enet"; remove student.network from it',
        ),
        (
            table("student.erfnet.width", kind="choice", values=[1.0], when={"student.network": ["enet", "resnet18"]}),
            "a setting of erfnet is searched where student.network is erfnet",
        ),
        (
            table("student.enet.width", kind="choice", values=[1.0])
            + table("student.network", kind="choice", values=["erfnet", "enet"]),
            "space.student.enet.width.when: may name only settings above it, found student.network",
        ),
        (table("student.network", kind="choice", values=["erfnet", "unet"]), "must be one of erfnet, enet, resnet18"),
        (
            table("training.momentum", kind="choice", values=[1.0], when={"student.net": "enet"}),
            "student.net: unknown setting",
        ),
        (
            table("training.momentum", kind="choice", values=[0.9], when={"training.momentum": 0.9}),
            "may name only settings above it",
        ),
        (
            table("distill.affinity.weight", kind="float", low=0.0, high=1.0)
            + table("training.momentum", kind="choice", values=[0.9], when={"distill.affinity.weight": 0.1}),
            "must have few values",
        ),
        (
            "[[points]]\n'training.momentum' = 0.5",
            "points[0]: may hold only settings of the space, found training.momentum",
        ),
        (
            table("training.momentum", kind="choice", values=[0.9]) + "[[points]]\n'training.momentum' = 0.5",
            "points[0]: must lie in",
        ),
        ("points = 3", "points: "),
        ("space = 3", "space: "),
    ],
)
def test_bad_space_is_refused(text: str, message: str) -> None:
    if message.startswith("points[0]: may hold"):
        text = table("student.network", kind="choice", values=["erfnet"]) + text
    assert message in refused(text)


@pytest.mark.parametrize(
    "path",
    sorted(
        set(paths_with(StudySettings, Trait.ONE_FOR_ALL_TRIALS))
        - set(paths_with(StudySettings, Trait.A_CHOICE_OF_STORED))
    ),
)
def test_what_all_trials_share_is_never_searched(path: str) -> None:
    value = get_path(StudySettings(), path)
    domain = {"kind": "choice", "values": [value] if value is not None else ["/folder"]}
    line = refused(tomli_w.dumps({"space": {path: domain}}))
    assert "must be the same in all trials of a study" in line
    answered = path.startswith(("teacher.", "scenes.", "knowledge.", "seed"))
    assert ("the teacher's answers about each view are made once" in line) == answered


def test_too_many_settings_that_decide_about_others() -> None:
    first = table("distill.kd.weight", kind="int", low=0, high=20_000)
    width = table("student.erfnet.width", kind="choice", values=[1.0], when={"distill.kd.weight": 0})
    assert "a setting named by `when` must have few values" in refused(first + width)
    first = table("distill.kd.weight", kind="int", low=0, high=199)
    second = table("distill.fitnet.weight", kind="int", low=0, high=199)
    width = table(
        "student.erfnet.width",
        kind="choice",
        values=[1.0],
        when={"distill.kd.weight": 0, "distill.fitnet.weight": 0},
    )
    assert "settings that others depend on may have 20000 combinations" in refused(first + second + width)


def test_paper_recipe_is_point_zero_whatever_the_base_says() -> None:
    searched = {path: table(path, kind="choice", values=[value]) for path, value in PAPER_RECIPE.items()}
    text = "[distill]\nenabled = false\n" + "".join(searched.values())
    assert space_of(text).points[0] == PAPER_RECIPE


def test_points_are_completed_from_the_base_and_equal_ones_kept_once() -> None:
    text = SMALL + (
        '[[points]]\n"student.network" = "resnet18"\n"distill.enabled" = false\n'
        '[[points]]\n"distill.enabled" = true\n'
        '[[points]]\n"student.network" = "enet"\n"student.enet.blocks" = [2, 3]\n"distill.affinity.kernel_size" = 7\n'
    )
    recipe = {
        "student.network": "erfnet",
        "student.erfnet.blocks": [5, 8],
        "distill.enabled": True,
        "distill.affinity.orders": [1, 2, 3],
        "distill.attention.weight": 0.1,
        "training.learning_rate": 0.01,
    }
    base = {**recipe, "distill.affinity.orders": [1, 2]}  # whose orders are not the paper's
    enet = {**base, "student.network": "enet", "student.enet.blocks": [2, 3], "distill.affinity.kernel_size": 7}
    del enet["student.erfnet.blocks"]
    bare = {"student.network": "resnet18", "distill.enabled": False, "training.learning_rate": 0.01}
    assert space_of(text).points == (recipe, bare, base, enet)


def test_a_study_without_a_space_has_one_point() -> None:
    space = space_of("")
    assert space.points == ({},)
    assert space.size() == (1, 0)
    assert space.sample(random.Random(0)) == {}
    assert space.settings({}) == with_overrides(StudySettings(), {"search.num_trials": 1})  # one point, one student


def test_tables_make_the_same_space_again_also_by_way_of_toml() -> None:
    space = space_of(SMALL + '[[points]]\n"student.network" = "enet"\n')
    text = tomli_w.dumps(without_none(space.tables()))
    again = space_of(text)
    assert again.domains == space.domains
    assert again.points == space.points


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_every_corner_of_every_shipped_space_is_a_setting(file: Path) -> None:
    text = file.read_text()
    found = parse_study(text, file.name, overrides_for(text))
    assert all(domain.why for domain in found.space.domains.values())
    for path, domain in found.space.domains.items():
        for corner in domain.corners():
            assert get_path(found.space.settings({path: corner}), path) == corner
    rng = random.Random(0)
    for point in [*found.space.points, *(found.space.sample(rng) for _ in range(20))]:
        assert found.space.holds(point)
        found.space.settings(point)
    assert found.space.size().discrete >= 1


def overrides_for(text: str) -> list[str]:
    """Real data sets get their root on the command line."""
    given = tomllib.loads(text).get("scenes", {})
    needs_root = given.get("dataset", "synthetic") != "synthetic" and "root" not in given
    return ["scenes.root=/data"] if needs_root else []


def checkpoints(base: str, values: list[object], **changes: object) -> str:
    domain = {"kind": "choice", "values": values, **changes}
    return tomli_w.dumps({"teacher": {"checkpoint": base}, "space": {"teacher.checkpoint": domain}})


def test_stored_teachers_are_a_choice_and_their_paths_become_absolute() -> None:
    plan = parse_study(checkpoints("best", ["best", "shipped:drawn_roads", "s3://bucket/early"]), "f")
    here = str(Path("best").absolute())
    assert plan.space.values_of("teacher.checkpoint") == [here, "shipped:drawn_roads", "s3://bucket/early"]
    assert plan.settings.teacher.checkpoint == here
    assert plan.space.settings({"teacher.checkpoint": "s3://bucket/early"}).teacher.checkpoint == "s3://bucket/early"


def test_a_setting_that_is_not_searched_has_one_value() -> None:
    plan = parse_study('[teacher]\ncheckpoint = "shipped:drawn_roads"', "f")
    assert plan.space.values_of("teacher.checkpoint") == ["shipped:drawn_roads"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (checkpoints("/a", ["/b", "/c"]), 'must hold the base setting, found teacher.checkpoint = "/a"'),
        (checkpoints("/a", ["/a", 3]), "may be searched only as a choice of what is stored"),
        (table("teacher.checkpoint", kind="int", low=0, high=3), "may be searched only as a choice of what is stored"),
        (table("teacher.checkpoint", kind="choice", values=["/a"]), "must hold the base setting"),
    ],
)
def test_other_choices_of_teachers_are_refused(text: str, message: str) -> None:
    assert message in refused(text)


ENABLED = '[space."distill.enabled"]\nkind = "choice"\nvalues = [true, false]\n'
RAMP = '[space."distill.affinity.ramp"]\nkind = "choice"\nvalues = [0.0, 1.0]\n'
KERNEL = '[space."distill.affinity.kernel_size"]\nkind = "choice"\nvalues = [3, 5]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            ENABLED + '[[points]]\n"distill.enabled" = 0',
            "points[0]: must lie in the space, found distill.enabled = 0; write false",
        ),
        (RAMP + '[[points]]\n"distill.affinity.ramp" = 1', "found distill.affinity.ramp = 1; write 1.0"),
        (RAMP + '[[points]]\n"distill.affinity.ramp" = true', "found distill.affinity.ramp = true; write 1.0"),
        (RAMP + KERNEL + 'when = {"distill.affinity.ramp" = 1}', "found distill.affinity.ramp = 1; write 1.0"),
        (KERNEL + 'when = {"distill.enabled" = 1}', "found distill.enabled = 1; write true"),
    ],
)
def test_equal_is_not_the_same(text: str, message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        parse_study(text, "study")
    assert message in str(caught.value)


def test_a_subset_holds_values_of_its_own_type() -> None:
    domain = SubsetDomain(kind="subset", values=[1, 2])
    assert domain.contains([1])
    assert not domain.contains([True])
    assert not domain.contains([1.0, 2])


def test_a_point_of_ours_takes_the_values_of_a_choice() -> None:
    space = parse_study(RAMP.replace("0.0, 1.0", "0, 1"), "study").space
    assert json.dumps(space.points) == '[{"distill.affinity.ramp": 0}]'
