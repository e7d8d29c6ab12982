"""What a term needs of the teacher, and how the teacher answers.

A need is a value: equal needs of many trials are answered once. An answer is a batch-first tensor under the need's
key, so that it can be stored per view and stacked again into any batch.
"""

# B images, K classes, R orders

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from intra_search.distill.functional import (
    affinity_graph,
    attention_map,
    region_masks,
    region_moments,
    region_presence,
)
from intra_search.errors import KnowledgeError, SettingError
from intra_search.networks.output import NetworkOutput


@dataclass(frozen=True)
class RegionForm:
    """How labels become regions on a feature map."""

    kernel_size: int


@dataclass(frozen=True)
class GraphNeed:
    """Affinity graph of one moment order: `key` (B, K, K) float32 and `present_key` (B, K) bool."""

    layer: str
    order: int
    regions: RegionForm

    @property
    def key(self) -> str:
        return f"graph/{self.layer}/order{self.order}/kernel{self.regions.kernel_size}"

    @property
    def present_key(self) -> str:
        return f"{self.key}/present"


@dataclass(frozen=True)
class MapNeed:
    """Attention map, softmaxed at the teacher's own size: (B, h, w) float32. The student's map is resized to it.

    A finished map is stored, and not the energies before the softmax, because it lies in 0..1 whatever the features.
    """

    layer: str

    @property
    def key(self) -> str:
        return f"map/{self.layer}"


Need = GraphNeed | MapNeed


@torch.no_grad()
def teacher_answers(
    needs: Iterable[Need], teacher_output: NetworkOutput, labels: Tensor, num_classes: int
) -> dict[str, Tensor]:
    """Answers to all needs for one batch, detached, batch-first, under keys that start with `need.key`.

    Args:
        needs: what the terms of all trials may ask; repeated needs are answered once.
        teacher_output: of the teacher in eval mode, for the very views the student sees.
        labels: (B, H, W) integers at the size of the views, 255 = ignored.
        num_classes: K.

    Raises `SettingError` for a feature that the teacher does not have.
    """
    graphs: dict[tuple[str, RegionForm], list[GraphNeed]] = defaultdict(list)
    answers: dict[str, Tensor] = {}
    for need in sorted(set(needs), key=lambda need: need.key):
        check_layer("teacher", need.layer, teacher_output.features)
        if isinstance(need, GraphNeed):
            graphs[need.layer, need.regions].append(need)
        else:
            answers[need.key] = attention_map(teacher_output.features[need.layer]).float()
    for (layer, regions), same_layer in graphs.items():
        answers |= _graph_answers(same_layer, regions, teacher_output.features[layer], labels, num_classes)
    return answers


def answer_of(answers: Mapping[str, Tensor], key: str) -> Tensor:
    """One answer, or a `KnowledgeError` that lists what is there."""
    if key not in answers:
        known = ", ".join(sorted(answers)) or "nothing"
        raise KnowledgeError("knowledge", f"must hold {key!r}", known, "answer the needs of this trial's terms")
    return answers[key]


def check_layer(network: str, layer: str, known: Iterable[str]) -> None:
    """Raises `SettingError`, listing the features that exist, for an unknown one."""
    names = list(known)
    if layer not in names:
        remedy = f"the {network}'s features are: {', '.join(names)}"
        raise SettingError("distill.layers", f"must name features of the {network}", repr(layer), remedy)


def _graph_answers(
    needs: list[GraphNeed], regions: RegionForm, features: Tensor, labels: Tensor, num_classes: int
) -> dict[str, Tensor]:
    """All orders of one layer share masks and power sums."""
    orders = [need.order for need in needs]
    size = (features.shape[2], features.shape[3])
    masks = region_masks(labels, num_classes, regions.kernel_size, size)
    graph_BRKK = affinity_graph(region_moments(features, masks, orders))
    present_BRK = region_presence(masks, orders)
    answers: dict[str, Tensor] = {}
    for index, need in enumerate(needs):
        answers[need.key] = graph_BRKK[:, index].float()
        answers[need.present_key] = present_BRK[:, index]
    return answers
