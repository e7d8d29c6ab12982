"""LLAMAS' segmentation metric: the official script's area under a precision-recall curve, and the exact area.

A curve is computed once per image and class, from a histogram of the 256 grey values of a prediction.
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
    """Scores of one class in one image; all in 0..1."""

    auc: float
    """Official area: the gain in recall at each threshold times the precision at the threshold *before*, which is 1 at
    the start. So a hard mask with recall R and precision P gets R, whatever P is, plus (1 - R) P at threshold 0."""
    recall: float
    """Recall at the best corner: the threshold where precision times recall is greatest."""
    precision: float
    """Precision at the best corner."""
    threshold: float
    """Threshold of the best corner, a multiple of 0.01."""
    exact_ap: float
    """Average precision over all grey values, where each gain in recall has its own precision: a hard mask gets R P
    plus (1 - R) times the share of pixels that have the class. 0 when the class is absent."""


def _thresholds() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Thresholds 1.00, 0.99 … 0.00, and for each the smallest grey value g with g / 255 >= threshold."""
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
    """Scores from two counts per grey value (256,): of the class's pixels, and of all pixels."""
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
    """Sums of scores per class over images; `merged` adds the sums of images or workers."""

    num_images: int
    sums: Mapping[str, CurveScores]
    """For each class ("0" to "4") the sum of the images' scores. An image without the class counts, with 0."""

    def merged(self, other: "LlamasSums") -> "LlamasSums":
        """The sum of both; a sum without images may have no classes."""
        if not self.num_images or not other.num_images:
            return self if self.num_images else other
        added = {name: _add(scores, other.sums[name]) for name, scores in self.sums.items()}
        return LlamasSums(self.num_images + other.num_images, added)

    def means(self) -> dict[str, CurveScores]:
        """Mean scores of each class over all images."""
        return {name: CurveScores(*(value / self.num_images for value in scores)) for name, scores in self.sums.items()}

    @property
    def mean_average_precision(self) -> float:
        """The official score: mean AUC over l1, l0, r0, r1, or the AUC of the binary task. NaN without images."""
        return self._mean("auc")

    @property
    def mean_exact_ap(self) -> float:
        """The same mean of the exact average precision, in which a hard mask has no advantage."""
        return self._mean("exact_ap")

    def _mean(self, field: str) -> float:
        values = [getattr(scores, field) for name, scores in self.means().items() if name != "0"]
        return float(np.mean(values)) if values else float("nan")


def _add(one: CurveScores, other: CurveScores) -> CurveScores:
    return CurveScores(*(a + b for a, b in zip(one, other, strict=True)))


def image_sums(predictions: Mapping[str, Image], masks: Mapping[str, npt.NDArray[np.bool_]]) -> LlamasSums:
    """Scores of one image, from the grey image of each class's probability and the mask of its pixels, by class."""
    return LlamasSums(1, {name: curve_scores(predictions[name], mask) for name, mask in masks.items()})
