"""What terms need from the teacher (needs), and the teacher's answers.

Needs can be compared: equal needs of several trials are answered once. An answer is a tensor under the need's key. Its
first dimension is the image, so it can be stored per view and stacked again into any batch.
"""

# B images, K classes, R orders, C channels, h w feature height and width

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from intra_search.distill.affinity import affinity_graph, centred_moments
from intra_search.distill.attention import MapForm, map_of_form
from intra_search.distill.moments import Variant, region_cells, region_moments
from intra_search.distill.regions import Resize, region_masks
from intra_search.distill.unit import full_precision
from intra_search.errors import KnowledgeError, SettingError
from intra_search.networks.output import NetworkOutput


class StoredForm(NamedTuple):
    """How an answer's floats are stored: multiplied by `scale`, then rounded to `dtype`. They are read as float32."""

    dtype: torch.dtype = torch.float32
    scale: float = 1.0
    """A power of two, so that multiplying is exact."""


HALF = StoredForm(torch.float16)
HALF_OF_UNIT = StoredForm(torch.float16, 2.0**15)
"""For values in -1..1. Unscaled, softmax maps over thousands of cells would be so small that float16 loses digits."""


@dataclass(frozen=True)
class Need(ABC):
    """One thing that a term asks of the teacher."""

    @property
    @abstractmethod
    def key(self) -> str:
        """Name of the answer. A need may have further answers, named like `<key>/cells`."""

    @property
    def shared(self) -> Hashable:
        """Needs of one class with equal `shared` are answered together, because they share work."""
        return self.key

    @property
    def stored_form(self) -> StoredForm:
        """Float32, except for answers over positions: those make up nearly all bytes of a store."""
        return StoredForm()

    @abstractmethod
    def answer(
        self, alike: Sequence["Need"], teacher: NetworkOutput, labels: Tensor, num_classes: int
    ) -> dict[str, Tensor]:
        """Answers, by key, to all needs in `alike`: those with the same `shared`, this one included."""


@torch.no_grad()
def teacher_answers(
    needs: Iterable[Need], teacher_output: NetworkOutput, labels: Tensor, num_classes: int
) -> dict[str, Tensor]:
    """Answers to all needs for one batch, by name: detached, batch first, float32 or bool.

    They are not rounded to their stored form, which would change a loss by less than 1e-3.

    Args:
        needs: what terms ask; repeated needs are answered once.
        teacher_output: the output of the teacher in eval mode for exactly the views that the student sees.
        labels: (B, H, W) integers at the size of the views, 255 = ignored.
        num_classes: K.

    Raises `SettingError` for a feature that the teacher does not have.
    """
    together: dict[Hashable, list[Need]] = defaultdict(list)
    for need in sorted(set(needs), key=lambda need: need.key):
        together[type(need), need.shared].append(need)
    answers: dict[str, Tensor] = {}
    for alike in together.values():
        for key, answer in alike[0].answer(alike, teacher_output, labels, num_classes).items():
            answers[key] = answer if answer.dtype == torch.bool else answer.float()
    return answers


def belongs_to(name: str, key: str) -> bool:
    """Whether an answer's name is a need's key, or begins with it like `<key>/cells`."""
    return key in (name, name.rpartition("/")[0])


def answer_of(answers: Mapping[str, Tensor], key: str) -> Tensor:
    """One answer. Raises a `KnowledgeError` that lists the known names."""
    if key not in answers:
        known = ", ".join(sorted(answers)) or "nothing"
        raise KnowledgeError("knowledge", f"must hold {key!r}", known, "answer the needs of this trial's terms")
    return answers[key]


def check_layer(network: str, layer: str, known: Iterable[str], setting: str = "distill.layers") -> None:
    """Raises a `SettingError` that lists the network's features, for an unknown one."""
    names = list(known)
    if layer not in names:
        remedy = f"the {network}'s features are: {', '.join(names)}"
        raise SettingError(setting, f"must name features of the {network}", repr(layer), remedy)


def feature_of(teacher: NetworkOutput, layer: str) -> Tensor:
    """A named feature of the teacher in full precision. Raises a `SettingError` that lists the known ones."""
    check_layer("teacher", layer, teacher.features)
    return full_precision(teacher.features[layer])


@dataclass(frozen=True)
class RegionForm:
    """How labels become regions on a feature map: options of `region_masks`."""

    kernel_size: int
    soft: bool = False
    background: bool = True
    resize: Resize = "max"

    def masks(self, labels: Tensor, num_classes: int, size: tuple[int, int]) -> Tensor:
        """(B, K, h, w)."""
        return region_masks(
            labels,
            num_classes,
            self.kernel_size,
            size,
            soft=self.soft,
            background=self.background,
            resize=self.resize,
        )

    def __str__(self) -> str:
        parts = [f"kernel{self.kernel_size}", self.resize]
        return "-".join([*parts, *["soft"] * self.soft, *["foreground"] * (not self.background)])


@dataclass(frozen=True)
class GraphNeed(Need):
    """Affinity graph of one moment order: answers `key` (B, K, K), and `cells_key` (B, K), the cells of each region in
    the teacher's map. (Older releases stored `graph/...` with the presence of each region.)"""

    layer: str
    order: int
    regions: RegionForm
    variant: Variant = "textbook"
    centred: bool = False

    @property
    def key(self) -> str:
        form = f"{self.variant}-centred" if self.centred else self.variant
        return f"affinity/{self.layer}/{self.regions}/{form}{self.order}"

    @property
    def cells_key(self) -> str:
        return f"{self.key}/cells"

    @property
    def shared(self) -> Hashable:
        return self.layer, self.regions, self.variant, self.centred

    def answer(
        self, alike: Sequence[Need], teacher: NetworkOutput, labels: Tensor, num_classes: int
    ) -> dict[str, Tensor]:
        needs = [need for need in alike if isinstance(need, GraphNeed)]
        orders = [need.order for need in needs]
        features = feature_of(teacher, self.layer)
        masks = self.regions.masks(labels, num_classes, (features.shape[2], features.shape[3]))
        moments_BRKC = region_moments(features, masks, orders, variant=self.variant)
        cells_BK = region_cells(masks)
        if self.centred:
            moments_BRKC = centred_moments(moments_BRKC, cells_BK, orders)
        graph_BRKK = affinity_graph(moments_BRKC)
        answers = {need.key: graph_BRKK[:, index] for index, need in enumerate(needs)}
        return answers | {need.cells_key: cells_BK.float() for need in needs}


@dataclass(frozen=True)
class MapNeed(Need):
    """Attention map at the teacher's own size: (B, h, w). The student's map is resized to it.

    The finished map is stored, not the energies before the softmax: it lies in 0..1 for all features.
    """

    layer: str
    form: MapForm = "standardised"
    temperature: float = 1.0

    @property
    def key(self) -> str:
        form = "softmax" if self.form == "sum" else self.form  # as older releases stored it
        return f"map/{self.layer}/{form}" + (f"-T{self.temperature:g}" if self.temperature != 1 else "")

    @property
    def stored_form(self) -> StoredForm:
        return HALF_OF_UNIT

    def answer(
        self, alike: Sequence[Need], teacher: NetworkOutput, labels: Tensor, num_classes: int
    ) -> dict[str, Tensor]:
        return {self.key: map_of_form(feature_of(teacher, self.layer), self.form, self.temperature)}


@dataclass(frozen=True)
class LogitsNeed(Need):
    """Logits averaged over stride x stride pixels: (B, K, H / stride, W / stride).

    All classes are stored, not only the k most probable: CWD normalises a class over all positions, DIST correlates all
    classes and pixels, and KD compares the probabilities of all classes.
    """

    stride: int = 1

    @property
    def key(self) -> str:
        return f"logits/stride{self.stride}"

    @property
    def stored_form(self) -> StoredForm:
        return HALF

    def answer(
        self, alike: Sequence[Need], teacher: NetworkOutput, labels: Tensor, num_classes: int
    ) -> dict[str, Tensor]:
        if teacher.logits.shape[1] != num_classes:
            remedy = "train the teacher on the student's classes"
            raise SettingError("teacher", f"must have {num_classes} classes", teacher.logits.shape[1], remedy)
        return {self.key: pooled_logits(teacher.logits, self.stride)}


@dataclass(frozen=True)
class FeatureNeed(Need):
    """A whole feature map: (B, C, h, w). The largest kind of answer; a live teacher is often cheaper."""

    layer: str

    @property
    def key(self) -> str:
        return f"feature/{self.layer}"

    @property
    def stored_form(self) -> StoredForm:
        return HALF

    def answer(
        self, alike: Sequence[Need], teacher: NetworkOutput, labels: Tensor, num_classes: int
    ) -> dict[str, Tensor]:
        return {self.key: feature_of(teacher, self.layer)}


def pooled_logits(logits: Tensor, stride: int) -> Tensor:
    """Logits averaged over stride x stride pixels, in full precision."""
    return nn.functional.avg_pool2d(full_precision(logits), stride) if stride > 1 else full_precision(logits)
