"""Confusion counts of segmentation, and the scores computed from them. Counts may be summed over batches and workers.

K classes; rows of a confusion are the truth, columns the prediction.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from intra_search.errors import SceneError
from intra_search.scenes.labels import IGNORED


class SegmentationScores(NamedTuple):
    """Scores of a confusion matrix, in 0..1."""

    miou: float
    """Mean IoU over the classes that occur in truth or prediction; NaN when there is none."""
    class_iou: list[float | None]
    """IoU of each class; None if a class is neither in truth nor predicted."""
    pixel_accuracy: float
    """Share of counted pixels that are right; NaN when no pixel is counted."""
    num_present: int
    """Number of classes that `miou` averages."""


def confusion_matrix(labels: Tensor, predictions: Tensor, num_classes: int) -> Tensor:
    """Counts of (truth, prediction) pairs: (K, K) int64 on the labels' device, rows truth.

    `labels` and `predictions` are integer tensors of one shape on one device. Pixels with label 255 are not counted.

    Raises SceneError when the shapes differ, or a counted pixel holds a value outside 0..num_classes - 1.
    """
    if labels.shape != predictions.shape:
        raise SceneError(
            "labels",
            "must have the predictions' shape",
            f"{tuple(labels.shape)} against {tuple(predictions.shape)}",
            "resize the predictions to the labels",
        )
    num_cells = num_classes * num_classes
    truth = labels.reshape(-1).long()
    guess = predictions.reshape(-1).long()
    known = (truth >= 0) & (truth < num_classes) & (guess >= 0) & (guess < num_classes)
    # Two more bins count foreign values and ignored pixels: so shapes are fixed and valid pixels need not be copied.
    cells = torch.where(known, truth * num_classes + guess, num_cells)
    cells = torch.where(truth == IGNORED, num_cells + 1, cells)
    counts = torch.bincount(cells, minlength=num_cells + 2)
    num_foreign = int(counts[num_cells])
    if num_foreign:
        raise SceneError(
            "labels or predictions",
            f"must be classes 0..{num_classes - 1} (or label {IGNORED})",
            f"{num_foreign} other pixels, labels up to {int(truth[truth != IGNORED].max())}, "
            f"predictions {int(guess.min())}..{int(guess.max())}",
            "use the class table that the labels were made with",
        )
    return counts[:num_cells].reshape(num_classes, num_classes)


def iou(confusion: Tensor) -> Tensor:
    """Intersection over union of each class: (K,) float64; NaN if a class is neither in truth nor predicted."""
    right = confusion.diagonal().double()
    union = confusion.sum(dim=0).double() + confusion.sum(dim=1).double() - right
    return torch.where(union > 0, right / union.clamp_min(1), torch.nan)


def segmentation_scores(confusion: Tensor) -> SegmentationScores:
    """Scores of a confusion (K, K) of one image, or summed over images and workers."""
    per_class = iou(confusion.cpu())
    present = ~per_class.isnan()
    total = int(confusion.sum())
    return SegmentationScores(
        miou=float(per_class.nanmean()),
        class_iou=[value if is_there else None for value, is_there in zip(per_class.tolist(), present, strict=True)],
        pixel_accuracy=float(confusion.diagonal().sum()) / total if total else float("nan"),
        num_present=int(present.sum()),
    )
