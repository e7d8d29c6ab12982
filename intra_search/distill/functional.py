"""The public functions of IntRA-KD: pure, batched, for any float type, with gradient to the features."""

from intra_search.distill.affinity import affinity_graph, affinity_loss
from intra_search.distill.attention import attention_loss, attention_map
from intra_search.distill.moments import region_moments, region_presence
from intra_search.distill.regions import region_masks

__all__ = [
    "affinity_graph",
    "affinity_loss",
    "attention_loss",
    "attention_map",
    "region_masks",
    "region_moments",
    "region_presence",
]
