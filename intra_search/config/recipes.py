"""Whole recipes of distillation: settings below `distill` with their values. `distill.preset` names one."""

from typing import Any

Recipe = dict[str, Any]

_AT_ONCE = {"start": 0.0, "ramp": 0.0, "decay": 0.0}


def _from_start_to_end(*terms: str) -> Recipe:
    return {f"{term}.{setting}": value for term in terms for setting, value in _AT_ONCE.items()}


PAPER_PRESET: Recipe = {
    "layers": [["block2", "block3"], ["block3", "block5"]],
    "layer_weights": [],
    "balance": "none",
    "affinity.weight": 0.1,
    "affinity.orders": [1, 2, 3],
    "affinity.order_weights": [],
    "affinity.least_cells": [1, 2],
    "affinity.pairs": "equal",
    "affinity.centred": False,
    "affinity.kernel_size": 5,
    "affinity.masks": "hard",
    "affinity.background": True,
    "affinity.variant": "textbook",
    "affinity.absent": "counted",
    "attention.weight": 0.1,
    "attention.map": "sum",
    "attention.temperature": 1.0,
    **_from_start_to_end("affinity", "attention"),
}
"""Hou et al. 2020 as recalled, to be checked against the PDF (protocols 1 and 7). `absent` departs from our defaults:
the paper divides by 3 n^2. The skewness is read as standardised, the printed denominator as a slip. The map is the sum
of squares, since the preset stands for the paper as recalled; that map is one-hot for any real network's features
(largest value 1.000, measured), so the recipe harms. The other recipes take better forms."""

LATE_LAYERS = [["decoder", "block5"]]
"""The student's last feature before its head, the teacher's before its pyramid: of those tried, it teaches most."""

CANONICAL_PRESET: Recipe = {
    "layers": LATE_LAYERS,
    "layer_weights": [],
    "balance": "gradient",
    "affinity.weight": 0.0,
    "attention.weight": 0.0,
    "kd.weight": 0.3,
    "kd.temperature": 1.0,
    "fitnet.weight": 1.0,
    **_from_start_to_end("kd", "fitnet"),
}
"""Logits and late features, which at equal time are as good as losses made for segmentation ("The Surprising
Effectiveness of Canonical Knowledge Distillation for Semantic Segmentation", arXiv 2604.25530). Weights by our own runs
(docs/distillation.md)."""

INTRA_PRESET: Recipe = {
    "layers": LATE_LAYERS,
    "layer_weights": [],
    "balance": "gradient",
    "affinity.weight": 0.1,
    "affinity.orders": [1, 2],
    "attention.weight": 0.1,
    "attention.map": "standardised",
    "kd.weight": 0.3,
    "kd.temperature": 1.0,
    "fitnet.weight": 1.0,
    **_from_start_to_end("affinity", "attention", "kd", "fitnet"),
}
"""IntRA-KD's two terms, well-conditioned and on late layers, beside logits and late features. Weights by our own runs
(docs/distillation.md): without logits it gains as much on frames with labels, and less from frames without."""

PRESETS: dict[str, Recipe] = {"paper": PAPER_PRESET, "canonical": CANONICAL_PRESET, "intra": INTRA_PRESET}
"""By the name that `distill.preset` takes."""


PAPER_RECIPE: Recipe = {
    "distill.enabled": True,
    "distill.preset": "paper",
    **{f"distill.{path}": value for path, value in PAPER_PRESET.items()},
}
"""The paper's recipe by paths of settings of a study. Trial 0 takes these values on every searched path."""
