"""Every term as a whole against a second implementation: loops over Python floats, written from the formulas.

Compared are values and slopes: how a term changes along a random direction of logits, features and adapters. Layers
differ in size and channels, pairs in weight, and some pixels are ignored. A self-distilling term detaches its
targets: its oracle takes them from a copy of the student that stays fixed.
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise, permutations
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from intra_search.config.distill import DistillSettings
from intra_search.config.parsing import with_overrides
from intra_search.config.study import StudySettings
from intra_search.distill.term import Term, TermContext, TermResult
from intra_search.distill.terms.table import TERMS
from intra_search.networks import NetworkOutput

Row = list[float]
Grid = list[Row]
"""By row and column."""
Map = list[Grid]
"""By channel, row and column."""

IMAGES, K, HEIGHT, WIDTH = 2, 3, 8, 12
STUDENT = {"block1": (2, 4, 6), "block2": (3, 4, 6), "block3": (2, 2, 3)}
TEACHER = {"block2": (2, 2, 3), "block3": (2, 3, 4)}
"""Channels, height, width of each feature."""


class Network(NamedTuple):
    """One network's answer for the batch, in Python floats."""

    logits: list[Map]
    features: dict[str, list[Map]]


class Case(NamedTuple):
    """All that a term reads."""

    student: Network
    parameters: dict[str, Any]
    still: Network
    """The student that self-distilling terms take their targets from, and its parameters."""
    still_parameters: dict[str, Any]
    teacher: Network
    labels: list[list[list[int]]]
    settings: DistillSettings

    def pairs(self) -> Iterator[tuple[list[Map], list[Map], float]]:
        for student_layer, teacher_layer, weight in self.settings.weighted_layers:
            yield self.student.features[student_layer], self.teacher.features[teacher_layer], weight

    def convolved(self, features: list[Map], weights: str) -> list[Map]:
        """After a 1x1 convolution without bias; unchanged if the term has none."""
        if weights not in self.parameters:
            return features
        matrix = [[tap[0][0] for tap in row] for row in self.parameters[weights]]
        return [mixed(image, matrix, [0.0] * len(matrix)) for image in features]


# Plain arithmetic


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def softmax(values: Row) -> Row:
    top = max(values)
    powers = [math.exp(value - top) for value in values]
    return [power / math.fsum(powers) for power in powers]


def kl(target: Row, own: Row) -> float:
    return math.fsum(t * math.log(t / o) for t, o in zip(target, own, strict=True))


def squared_gap(a: Row, b: Row) -> float:
    return math.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def cosine(a: Row, b: Row) -> float:
    norms = math.sqrt(math.fsum(x * x for x in a)) * math.sqrt(math.fsum(y * y for y in b))
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / norms if norms else 0.0


def pearson(a: Row, b: Row) -> float:
    return cosine([x - mean(a) for x in a], [y - mean(b) for y in b])


def flat(grid: Grid) -> Row:
    return [value for row in grid for value in row]


def size_of(features: Map) -> tuple[int, int]:
    return len(features[0]), len(features[0][0])


def at_cells(features: Map) -> list[Row]:
    """The vector of each cell, in scan order."""
    return [list(cell) for cell in zip(*(flat(channel) for channel in features), strict=True)]


def mixed(features: Map, matrix: Grid, bias: Row) -> Map:
    height, width = size_of(features)
    return [
        [[b + math.fsum(w * features[c][y][x] for c, w in enumerate(row)) for x in range(width)] for y in range(height)]
        for row, b in zip(matrix, bias, strict=True)
    ]


def bilinear(grid: Grid, size: tuple[int, int]) -> Grid:
    """Half-pixel centres, borders repeated."""

    def taps(cell: int, cells: int, length: int) -> list[tuple[int, float]]:
        place = min(max((cell + 0.5) * length / cells - 0.5, 0.0), length - 1.0)
        low = int(place)
        return [(low, 1 - place + low), (min(low + 1, length - 1), place - low)]

    return [
        [
            math.fsum(
                grid[y][x] * wy * wx
                for y, wy in taps(i, size[0], len(grid))
                for x, wx in taps(j, size[1], len(grid[0]))
            )
            for j in range(size[1])
        ]
        for i in range(size[0])
    ]


def brought(features: Map, size: tuple[int, int]) -> Map:
    return [bilinear(channel, size) for channel in features]


def adapted(features: Map, size: tuple[int, int]) -> Map:
    """Averaged to a smaller size, enlarged bilinearly to a larger one."""
    height, width = size_of(features)
    if size[0] <= height and size[1] <= width:
        return [pooled(channel, size, mean) for channel in features]
    return brought(features, size)


def pooled(grid: Grid, size: tuple[int, int], reduce: Callable[[list[float]], float]) -> Grid:
    """Adaptive pooling: cell i reads rows floor(i L / n) to ceil((i + 1) L / n)."""

    def window(cell: int, cells: int, length: int) -> range:
        return range(cell * length // cells, -(-(cell + 1) * length // cells))

    return [
        [
            reduce([grid[y][x] for y in window(i, size[0], len(grid)) for x in window(j, size[1], len(grid[0]))])
            for j in range(size[1])
        ]
        for i in range(size[0])
    ]


# Oracles: each is the value of the term as docs/method.md states it


def affinity(case: Case) -> float:
    total, options = 0.0, case.settings.affinity
    order_weights = options.order_weights or (1.0,) * len(options.orders)
    for student, teacher, weight in case.pairs():
        images = []
        for own, target, labels in zip(student, teacher, case.labels, strict=True):
            gaps, shares = [], []
            cells = [[members(labels, k, size_of(net), options.kernel_size) for k in range(K)] for net in (own, target)]
            for order, order_weight in zip(options.orders, order_weights, strict=True):
                own_moments, targets = (
                    [moment(net, region, order) for region in regions]
                    for net, regions in zip((own, target), cells, strict=True)
                )
                if options.centred:
                    own_moments, targets = less_their_mean(own_moments), less_their_mean(targets)
                least = options.least_cells[min(order, len(options.least_cells)) - 1]
                present = [
                    (s, t, len(own_cells))
                    for s, t, own_cells, other_cells in zip(own_moments, targets, *cells, strict=True)
                    if s is not None and t is not None and min(len(own_cells), len(other_cells)) >= least
                ]
                for s, t, n in present:
                    for other_s, other_t, m in present:
                        share = order_weight * (math.sqrt(n * m) if options.pairs == "size" else 1.0)
                        gaps.append(share * (cosine(s, other_s) - cosine(t, other_t)) ** 2)
                        shares.append(share)
            images += [math.fsum(gaps) / math.fsum(shares)] if gaps else []
        total += weight * (mean(images) if images else 0.0)
    return total


def less_their_mean(moments: list[Row | None]) -> list[Row | None]:
    present = [row for row in moments if row is not None]
    means = [mean(list(values)) for values in zip(*present, strict=True)]
    return [None if row is None else [x - m for x, m in zip(row, means, strict=True)] for row in moments]


def members(labels: list[list[int]], own_class: int, size: tuple[int, int], kernel_size: int) -> list[int]:
    """Cells of a region: some pixel of the cell is valid and has the class in the box around it."""
    reach = kernel_size // 2
    inside = [[0.0] * WIDTH for _ in range(HEIGHT)]
    for y in range(HEIGHT):
        for x in range(WIDTH):
            box = [
                labels[v][u]
                for v in range(max(0, y - reach), min(HEIGHT, y + reach + 1))
                for u in range(max(0, x - reach), min(WIDTH, x + reach + 1))
            ]
            inside[y][x] = float(labels[y][x] != 255 and own_class in box)
    return [cell for cell, value in enumerate(flat(pooled(inside, size, max))) if value]


def moment(features: Map, cells: list[int], order: int) -> Row | None:
    """None if the region has too few cells for this order."""
    if len(cells) < (1 if order == 1 else 2):
        return None
    result = []
    for channel in features:
        values = [flat(channel)[cell] for cell in cells]
        variance = mean([(value - mean(values)) ** 2 for value in values])
        if order == 1:
            result.append(mean(values))
        elif order == 2:
            result.append(variance)
        elif order % 2 and len(values) == 2:
            result.append(0.0)  # exactly: the cosine would turn a rounding error into a direction
        else:
            result.append(mean([((value - mean(values)) / math.sqrt(variance)) ** order for value in values]))
    return result


def energy(features: Map, size: tuple[int, int]) -> Row:
    """Sum of squares over channels, resized."""
    height, width = size_of(features)
    squares = [[math.fsum(channel[y][x] ** 2 for channel in features) for x in range(width)] for y in range(height)]
    return flat(bilinear(squares, size))


def attention_of(features: Map, size: tuple[int, int], form: str = "standardised", t: float = 4.0) -> Row:
    sums = energy(features, size)
    if form == "sum":
        return softmax([value / t for value in sums])
    if form == "l2":
        norm = math.sqrt(math.fsum(value**2 for value in sums))
        return [value / norm for value in sums]
    height, width = size_of(features)
    roots = [
        [math.sqrt(math.fsum(channel[y][x] ** 2 for channel in features) / len(features)) for x in range(width)]
        for y in range(height)
    ]
    return softmax([3 * math.tanh(value / 3) / t for value in standardised(flat(bilinear(roots, size)))])


def attention(case: Case) -> float:
    options = case.settings.attention

    def map_of(net: Map, size: tuple[int, int]) -> Row:
        return attention_of(net, size, options.map, options.temperature)

    return math.fsum(
        weight * squared_gap(map_of(own, size_of(target)), map_of(target, size_of(target))) / IMAGES
        for student, teacher, weight in case.pairs()
        for own, target in zip(student, teacher, strict=True)
    )


def at(case: Case) -> float:
    def unit(features: Map, size: tuple[int, int]) -> Row:
        values = [value / len(features) for value in energy(features, size)]
        norm = math.sqrt(math.fsum(value**2 for value in values))
        return [value / norm for value in values]

    return (
        math.fsum(
            weight
            * squared_gap(unit(own, size_of(target)), unit(target, size_of(target)))
            / len(unit(target, size_of(target)))
            for student, teacher, weight in case.pairs()
            for own, target in zip(student, teacher, strict=True)
        )
        / IMAGES
    )


def strided(logits: Map, stride: int) -> Map:
    return [pooled(channel, (HEIGHT // stride, WIDTH // stride), mean) for channel in logits]


def probabilities(logits: Map, temperature: float) -> list[Row]:
    """Softmax over classes, at each cell."""
    return [softmax([value / temperature for value in cell]) for cell in at_cells(logits)]


def both_logits(case: Case, stride: int) -> Iterator[tuple[Map, Map]]:
    for own, target in zip(case.student.logits, case.teacher.logits, strict=True):
        yield strided(own, stride), strided(target, stride)


def kd(case: Case) -> float:
    options = case.settings.kd
    t = options.temperature
    images = []
    for own, target in both_logits(case, options.stride):
        nets = [at_cells(net) for net in (own, target)]
        background = [cell.index(max(cell)) == 0 for cell in nets[1]]
        if options.standardise:
            nets = [[standardised(cell) for cell in net] for net in nets]
        rows = [[softmax([value / t for value in cell]) for cell in net] for net in nets]
        gaps = [kl(q, p) for p, q in zip(*rows, strict=True)]
        if options.pixels == "balanced":
            kinds = [[gap for gap, is_back in zip(gaps, background, strict=True) if is_back == kind] for kind in (0, 1)]
            images.append(mean([mean(kind) for kind in kinds if kind]))
        else:
            images.append(mean(gaps))
    return t**2 * mean(images)


def standardised(values: Row) -> Row:
    deviation = math.sqrt(mean([(value - mean(values)) ** 2 for value in values]))
    return [(value - mean(values)) / deviation for value in values]


def channel_gap(own: Map, target: Map, t: float) -> float:
    over_positions = [[softmax([value / t for value in flat(channel)]) for channel in net] for net in (own, target)]
    return t**2 * mean([kl(q, p) for p, q in zip(*over_positions, strict=True)])


def cwd(case: Case) -> float:
    t = case.settings.cwd.temperature
    if case.settings.cwd.on == "logits":
        return mean([channel_gap(own, target, t) for own, target in both_logits(case, case.settings.cwd.stride)])
    total = 0.0
    for index, (student, teacher, weight) in enumerate(case.pairs()):
        for own, target in zip(case.convolved(student, f"adapters.{index}.conv.weight"), teacher, strict=True):
            total += weight * channel_gap(adapted(own, size_of(target)), target, t) / IMAGES
    return total


def skd(case: Case) -> float:
    options = case.settings.skd
    t = options.temperature
    pixels = [
        -math.fsum(q * math.log(p) for p, q in zip(*cells, strict=True))
        for own, target in both_logits(case, options.stride)
        for cells in zip(probabilities(own, t), probabilities(target, t), strict=True)
    ]
    total = options.pixel_weight * mean(pixels)

    def nodes(features: Map) -> list[Row]:
        return at_cells([pooled(channel, (options.nodes, options.nodes), max) for channel in features])

    for student, teacher, weight in case.pairs():
        for own, target in zip(student, teacher, strict=True):
            similarity = [[cosine(a, b) for a in nodes(net) for b in nodes(net)] for net in (own, target)]
            total += options.pair_weight * weight * squared_gap(*similarity) / len(similarity[0]) / IMAGES
    return total


def fitnet(case: Case) -> float:
    total = 0.0
    for index, (student, teacher, weight) in enumerate(case.pairs()):
        for own, target in zip(case.convolved(student, f"adapters.{index}.conv.weight"), teacher, strict=True):
            brought_own = adapted(own, size_of(target))
            gaps = [squared_gap(flat(a), flat(b)) / len(flat(b)) for a, b in zip(brought_own, target, strict=True)]
            total += weight * mean(gaps) / IMAGES
    return total


def ifvd(case: Case) -> float:
    total = 0.0
    for student, teacher, weight in case.pairs():
        images = []
        for own, target, labels in zip(student, teacher, case.labels, strict=True):
            height, width = size_of(target)
            classes = [
                labels[int((i + 0.5) * HEIGHT / height)][int((j + 0.5) * WIDTH / width)]
                for i in range(height)
                for j in range(width)
            ]
            coherence = []
            for net in (brought(own, (height, width)), target):
                cells = at_cells(net)
                prototype = {
                    k: [
                        mean(list(values))
                        for values in zip(*(c for c, of in zip(cells, classes, strict=True) if of == k), strict=True)
                    ]
                    for k in set(classes)
                }
                coherence.append([cosine(cell, prototype[k]) for cell, k in zip(cells, classes, strict=True)])
            gaps = [(s - t) ** 2 for s, t, k in zip(*coherence, classes, strict=True) if k != 255]
            images += [mean(gaps)] if gaps else []
        total += weight * mean(images)
    return total


def cirkd(case: Case) -> float:
    options, total = case.settings.cirkd, 0.0
    grid = (options.grid, options.grid)
    for student, teacher, weight in case.pairs():
        own, target = (
            [at_cells([pooled(c, grid, mean) for c in image]) for image in net] for net in (student, teacher)
        )
        rows = []
        for i in range(IMAGES):
            for j in range(IMAGES):
                for n in range(options.grid**2):
                    p, q = (
                        softmax([cosine(net[i][n], cell) / options.temperature for cell in net[j]])
                        for net in (own, target)
                    )
                    rows.append(kl(q, p))
        total += weight * mean(rows)
    return total


def dist(case: Case) -> float:
    options, images = case.settings.dist, []
    for own, target in both_logits(case, options.stride):
        p, q = (probabilities(net, options.temperature) for net in (own, target))
        inter = mean([1 - pearson(s, t) for s, t in zip(p, q, strict=True)])
        intra = mean([1 - pearson([s[k] for s in p], [t[k] for t in q]) for k in range(K)])
        images.append(options.inter_weight * inter + options.intra_weight * intra)
    return options.temperature**2 * mean(images)


def fsp(case: Case) -> float:
    pairs = [
        (case.convolved(student, f"adapters.{index}.conv.weight"), teacher, weight)
        for index, (student, teacher, weight) in enumerate(case.pairs())
    ]

    def flow(shallow: Map, deep: Map) -> Row:
        first, second = brought(shallow, size_of(deep)), deep
        return [mean([p * q for p, q in zip(flat(a), flat(b), strict=True)]) for a in first for b in second]

    total = 0.0
    for (student, teacher, _), (next_student, next_teacher, weight) in pairwise(pairs):
        for image in range(IMAGES):
            own, target = flow(student[image], next_student[image]), flow(teacher[image], next_teacher[image])
            total += weight * squared_gap(own, target) / len(own) / IMAGES
    return total


def irg(case: Case) -> float:
    def distances(features: list[Map]) -> Row:
        vectors = [[mean(flat(channel)) for channel in image] for image in features]
        every = [squared_gap(a, b) for a in vectors for b in vectors]
        return [distance / mean(every) for distance in every]

    pairs = [(distances(student), distances(teacher), weight) for student, teacher, weight in case.pairs()]
    total = math.fsum(weight * squared_gap(own, target) / len(own) for own, target, weight in pairs)
    for (own, target, _), (next_own, next_target, weight) in pairwise(pairs):
        changes = [
            [after - before for before, after in zip(*layers, strict=True)]
            for layers in ((own, next_own), (target, next_target))
        ]
        total += case.settings.irg.transformation_weight * weight * squared_gap(*changes) / len(own)
    return total


def neighbour(case: Case) -> float:
    total = 0.0
    for shallow, deep in pairwise(case.pairs()):
        for (student, _, weight), (_, teacher, _) in ((shallow, deep), (deep, shallow)):
            for own, target in zip(student, teacher, strict=True):
                maps = [attention_of(net, size_of(target)) for net in (own, target)]
                total += weight * squared_gap(*maps) / IMAGES
    return total


def sad(case: Case) -> float:
    total = 0.0
    for block, next_block in pairwise(case.settings.sad.blocks):
        for own, target in zip(case.student.features[block], case.still.features[next_block], strict=True):
            total += squared_gap(attention_of(own, size_of(own)), attention_of(target, size_of(own))) / IMAGES
    return total


def dks(case: Case) -> float:
    def side(network: Network, parameters: dict[str, Any], index: int, image: int) -> Map:
        matrix = [[tap[0][0] for tap in row] for row in parameters[f"classifiers.{index}.weight"]]
        return mixed(network.features[blocks[index]][image], matrix, parameters[f"classifiers.{index}.bias"])

    blocks = case.settings.dks.blocks
    size = min((size_of(case.student.features[block][0]) for block in blocks), key=math.prod)
    synergy: list[float] = []
    supervision: list[list[float]] = [[] for _ in blocks]
    for image, labels in enumerate(case.labels):
        own, still = (
            [network.logits[image], *(side(network, parameters, index, image) for index in range(len(blocks)))]
            for network, parameters in ((case.student, case.parameters), (case.still, case.still_parameters))
        )
        coarse = [
            [probabilities([pooled(channel, size, mean) for channel in logits], 1.0) for logits in network]
            for network in (own, still)
        ]
        for first, second in permutations(range(len(own)), 2):
            synergy.append(mean([kl(q, p) for p, q in zip(coarse[0][first], coarse[1][second], strict=True)]))
        for index, logits in enumerate(own[1:]):
            pixels = zip(
                probabilities(brought(logits, (HEIGHT, WIDTH)), 1.0), (k for row in labels for k in row), strict=True
            )
            supervision[index] += [-math.log(p[k]) for p, k in pixels if k != 255]
    return mean(synergy) + math.fsum(mean(values) for values in supervision)


ORACLES = {
    "affinity": affinity,
    "attention": attention,
    "kd": kd,
    "cwd": cwd,
    "at": at,
    "skd": skd,
    "fitnet": fitnet,
    "ifvd": ifvd,
    "cirkd": cirkd,
    "dist": dist,
    "fsp": fsp,
    "irg": irg,
    "neighbour": neighbour,
    "sad": sad,
    "dks": dks,
}

OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("affinity", {"kernel_size": 3, "orders": [1, 2, 3, 4], "least_cells": [1]}),
    ("affinity", {"kernel_size": 3, "orders": [1, 2, 3], "least_cells": [1, 3, 5], "order_weights": [1.0, 0.25, 3.0]}),
    ("affinity", {"kernel_size": 1, "orders": [2, 1], "least_cells": [2], "pairs": "size"}),
    ("affinity", {"kernel_size": 3, "orders": [1, 2], "least_cells": [1], "centred": True}),
    ("attention", {}),
    ("attention", {"temperature": 0.5}),
    ("attention", {"map": "l2"}),
    ("attention", {"map": "sum", "temperature": 2.0}),
    ("kd", {"temperature": 2.0, "stride": 2}),
    ("kd", {"temperature": 2.0, "pixels": "balanced"}),
    ("kd", {"temperature": 0.5, "stride": 2, "standardise": True}),
    ("cwd", {"stride": 2}),
    ("cwd", {"on": "features", "temperature": 2.0}),
    ("at", {}),
    ("skd", {"temperature": 2.0, "stride": 2, "pixel_weight": 3.0, "pair_weight": 2.0}),
    ("fitnet", {}),
    ("ifvd", {}),
    ("cirkd", {"grid": 2, "temperature": 0.5}),
    ("dist", {"temperature": 2.0, "stride": 2, "inter_weight": 0.5, "intra_weight": 3.0}),
    ("fsp", {}),
    ("irg", {}),
    ("irg", {"transformation_weight": 3.0}),
    ("neighbour", {}),
    ("sad", {}),
    ("dks", {"blocks": ["block2", "block3"]}),
]

each_option = pytest.mark.parametrize(("name", "options"), OPTIONS)


def test_every_term_has_an_oracle() -> None:
    assert set(ORACLES) == set(TERMS) == {name for name, _ in OPTIONS}


@each_option
def test_value(name: str, options: dict[str, Any]) -> None:
    trial = Trial(name, options)
    assert trial.term_value(trial.student, trial.parameters).item() == pytest.approx(
        trial.oracle_value(trial.student, trial.parameters), rel=1e-6
    )


@each_option
def test_slope(name: str, options: dict[str, Any]) -> None:
    trial = Trial(name, options)
    leaves = {**trial.student, **trial.parameters}
    directions = {key: draw(100 + index, *leaf.shape) for index, (key, leaf) in enumerate(leaves.items())}
    inputs = {key: leaf.clone().requires_grad_() for key, leaf in leaves.items()}
    value = trial.term_value(*trial.split(inputs))
    gradients = torch.autograd.grad(value, list(inputs.values()), allow_unused=True)
    slope = sum(
        (gradient * direction).sum().item()
        for gradient, direction in zip(gradients, directions.values(), strict=True)
        if gradient is not None
    )
    step = 1e-5
    ahead, behind = (
        trial.oracle_value(*trial.split({key: leaf + sign * step * directions[key] for key, leaf in leaves.items()}))
        for sign in (1, -1)
    )
    assert slope == pytest.approx((ahead - behind) / (2 * step), rel=1e-5, abs=1e-8)
    for key in trial.parameters:
        gradient = gradients[list(inputs).index(key)]
        assert gradient is not None
        assert gradient.abs().sum() > 0


class Trial:
    """One term under options, and its oracle, on the same drawn networks."""

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        overrides: dict[str, Any] = {"distill.layers": [["block2", "block2"], ["block3", "block3"]]}
        overrides |= {"distill.layer_weights": [2.0, 0.5], f"distill.{name}.weight": 1.0}
        overrides |= {f"distill.{name}.{key}": value for key, value in options.items()}
        self.settings = with_overrides(StudySettings(), overrides).distill
        channels = [{layer: shape[0] for layer, shape in shapes.items()} for shapes in (STUDENT, TEACHER)]
        torch.manual_seed(0)
        self.term: Term = TERMS[name](self.settings, TermContext(K, channels[0], channels[1])).double()
        self.oracle = ORACLES[name]
        self.student, self.teacher = (
            {"logits": draw(seed, IMAGES, K, HEIGHT, WIDTH)}
            | {layer: draw(seed + index, IMAGES, *shape) for index, (layer, shape) in enumerate(shapes.items(), 1)}
            for seed, shapes in ((1, STUDENT), (11, TEACHER))
        )
        self.parameters = {key: value.detach() for key, value in self.term.named_parameters()}
        self.labels = draw_labels()

    def split(self, leaves: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Student and parameters."""
        return {key: leaves[key] for key in self.student}, {key: leaves[key] for key in self.parameters}

    def term_value(self, student: dict[str, Tensor], parameters: dict[str, Tensor]) -> Tensor:
        answers: dict[str, Tensor] = {}
        for need in self.term.needs_of(self.settings):  # `teacher_answers` would round to float32
            answers |= need.answer([need], output_of(self.teacher), self.labels, K)
        result: TermResult = functional_call(self.term, parameters, (output_of(student), answers, self.labels))
        return (result.sums / result.counts.clamp_min(1)).sum()

    def oracle_value(self, student: dict[str, Tensor], parameters: dict[str, Tensor]) -> float:
        own, still = (
            (listed(network), {key: value.tolist() for key, value in weights.items()})
            for network, weights in ((student, parameters), (self.student, self.parameters))
        )
        return self.oracle(Case(*own, *still, listed(self.teacher), self.labels.tolist(), self.settings))


def output_of(network: dict[str, Tensor]) -> NetworkOutput:
    return NetworkOutput(network["logits"], {key: value for key, value in network.items() if key != "logits"})


def listed(network: dict[str, Tensor]) -> Network:
    output = output_of(network)
    return Network(output.logits.tolist(), {key: value.tolist() for key, value in output.features.items()})


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def draw_labels() -> Tensor:
    """Blocks of 2 x 2 pixels; the second image lacks class 2, and a corner of each is ignored."""
    coarse = torch.randint(0, K, (IMAGES, HEIGHT // 2, WIDTH // 2), generator=torch.Generator().manual_seed(0))
    coarse[1][coarse[1] == 2] = 0
    coarse[:, 0, :3] = 255
    return coarse.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
