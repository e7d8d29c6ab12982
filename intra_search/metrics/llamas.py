"""LLAMAS' segmentation metric: the area that the official script reads from a precision-recall curve, and an exact one.

A curve is counted once per image and class, from one histogram of the 256 grey values that a prediction can hold.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from intra_search.errors import SceneError
from intra_search.metrics.histograms import value_counts

NUM_STEPS = 100
NUM_CLASSES = 5
"""Background, l1, l0, r0, r1; the mean average precision leaves the background out."""
_LEVELS = 256

Image = npt.NDArray[np.uint8]


class CurveScores(NamedTuple):
    """What one image says of one class; all in 0..1."""

    auc: float
    """Official area: recall gained per threshold times the precision at the threshold *before*, starting at 1. A hard
    mask of recall R and precision P gets R whatever its P, then (1 - R) P when everything is taken."""
    recall: float
    """Recall at the best corner, where precision times recall is greatest."""
    precision: float
    """Precision at the best corner."""
    threshold: float
    """Threshold of the best corner, a multiple of 0.01."""
    exact_ap: float
    """Average precision over all grey values, each step with its own precision: a hard mask gets R P plus the
    share of class pixels times (1 - R). 0 when the class is absent."""


def _thresholds() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Thresholds 1.00, 0.99 … 0.00, and for each the least grey value g with g / 255 >= threshold."""
    thresholds = np.arange(NUM_STEPS, -1, -1) / NUM_STEPS
    return thresholds, np.searchsorted(np.arange(_LEVELS) / 255, thresholds, side="left")


_THRESHOLDS, _LEAST_LEVEL = _thresholds()


def curve_scores(prediction: Image, truth: npt.NDArray[np.bool_] | Image) -> CurveScores:
    """Scores of one class in one image. `prediction` (H, W) uint8 holds round(255 p); `truth` (H, W) is non-zero where
    the class is. Raises SceneError when the shapes differ."""
    if prediction.shape != truth.shape:
        raise SceneError(
            "prediction", "must have the label's size", f"{prediction.shape} against {truth.shape}", "resize it"
        )
    right = np.bincount(prediction[truth != 0], minlength=_LEVELS)
    return histogram_scores(right, value_counts(prediction))


def histogram_scores(right: npt.NDArray[np.int64], taken: npt.NDArray[np.int64]) -> CurveScores:
    """Scores from counts per grey value (256,): pixels of the class, and all pixels."""
    found = np.cumsum(right[::-1])[::-1]  # pixels of the class at this grey value or above
    called = np.cumsum(taken[::-1])[::-1]
    if found[0] == 0:
        return CurveScores(0.0, 0.0, 0.0, 0.0, 0.0)
    recall = found / found[0]
    precision = np.divide(found, called, out=np.zeros(_LEVELS), where=called > 0)
    steps_recall, steps_precision = recall[_LEAST_LEVEL], precision[_LEAST_LEVEL]
    before = np.concatenate([[1.0], steps_precision[:-1]])
    best = int(np.argmax(steps_precision * steps_recall))
    return CurveScores(
        auc=float(np.diff(steps_recall, prepend=0.0) @ before),
        recall=float(steps_recall[best]),
        precision=float(steps_precision[best]),
        threshold=float(_THRESHOLDS[best]),
        exact_ap=float((right / found[0]) @ precision),
    )


class LlamasSums(NamedTuple):
    """Sums of scores per class over images; `merged` adds images and workers."""

    num_images: int
    sums: Mapping[str, CurveScores]
    """Class ("0" to "4", or "binary") to the sum of its images' scores. Every image counts, also where the class is
    absent, which gives 0."""

    def merged(self, other: "LlamasSums") -> "LlamasSums":
        """Both sums together; a sum without images takes the other's classes."""
        if not self.num_images or not other.num_images:
            return self if self.num_images else other
        added = {name: _add(scores, other.sums[name]) for name, scores in self.sums.items()}
        return LlamasSums(self.num_images + other.num_images, added)

    def means(self) -> dict[str, CurveScores]:
        """Mean scores of each class over all images."""
        return {name: CurveScores(*(value / self.num_images for value in scores)) for name, scores in self.sums.items()}

    @property
    def mean_average_precision(self) -> float:
        """The official number: mean AUC over l1, l0, r0, r1, or the AUC of the binary task. NaN without images."""
        return self._mean("auc")

    @property
    def mean_exact_ap(self) -> float:
        """The same mean of the exact average precision, which a hard mask cannot raise."""
        return self._mean("exact_ap")

    def _mean(self, field: str) -> float:
        values = [getattr(scores, field) for name, scores in self.means().items() if name != "0"]
        return float(np.mean(values)) if values else float("nan")


def _add(one: CurveScores, other: CurveScores) -> CurveScores:
    return CurveScores(*(a + b for a, b in zip(one, other, strict=True)))


def image_sums(predictions: Mapping[str, Image], masks: Mapping[str, npt.NDArray[np.bool_]]) -> LlamasSums:
    """Scores of one image: per class the grey image of its probability and the mask of its pixels, under one key."""
    return LlamasSums(1, {name: curve_scores(predictions[name], mask) for name, mask in masks.items()})
