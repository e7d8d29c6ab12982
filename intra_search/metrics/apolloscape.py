"""ApolloScape's mean IoU, counted in official ids as its evaluation script does.

The script is Cityscapes' pixel-level one with ApolloScape's labels: one confusion over all images. A pixel whose true
class is not counted is never a false positive; a pixel of a counted class that is predicted as any other is a miss.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from intra_search.errors import SceneError
from intra_search.metrics.histograms import pair_counts
from intra_search.scenes.labels import IGNORED, apolloscape_labels

Ids = npt.NDArray[np.uint8]
Confusion = npt.NDArray[np.int64]
"""(38, 38) pixel counts in the order of the official label table, rows truth; may be summed over images and workers."""


class ApolloScapeScores(NamedTuple):
    """Official scores of one confusion; NaN where no class is left to average."""

    mean_iou: float
    """Over the counted classes (void and 17 markings) that occur in truth or prediction."""
    mean_iou_without_void: float
    """`mean_iou` without void."""
    mean_iou_all: float
    """Over those of the 36 classes that occur; pixels whose truth is noise or ignored are left out."""
    class_iou: dict[str, float]
    """Official IoU of all 38 labels by name; NaN where a label is not counted or does not occur."""
    class_iou_all: dict[str, float]
    """IoU of the 36 classes by name, which `mean_iou_all` averages; NaN where a class does not occur."""


def id_confusion(truth: Ids, predicted: Ids) -> Confusion:
    """Confusion of one image from official ids (H, W), both uint8 at full resolution.

    Raises SceneError when the sizes differ or a pixel holds an id of no class.
    """
    if truth.shape != predicted.shape:
        found = f"{_size(predicted)} against {_size(truth)}"
        raise SceneError("prediction", "must have the label's size", found, "predict at full resolution")
    pairs = pair_counts(truth, predicted)
    confusion: Confusion = pairs[np.ix_(_ids(), _ids())]
    if confusion.sum() != truth.size:
        known = set(_ids().tolist())
        strange = {
            side: sorted(set(np.flatnonzero(pairs.sum(axis=axis)).tolist()) - known)
            for side, axis in (("label", 1), ("prediction", 0))
        }
        found = ", ".join(f"{ids} in the {side}" for side, ids in strange.items() if ids)
        raise SceneError("ids", "must be ApolloScape's (0, 200..233, 249, 250, 255)", found, "store ids, not train ids")
    return confusion


def confusion_of_train_ids(confusion: Confusion) -> Confusion:
    """A confusion of train ids, (36, 36) or (37, 37) with rows truth, as one of official ids, so that a training can
    compute the official scores. A 37th class (noise and ignored trained as one) becomes `ignored`."""
    labels = apolloscape_labels()
    places = [index for index, label in enumerate(labels) if label.train_id != IGNORED]
    places.sort(key=lambda index: labels[index].train_id)
    places.append(next(index for index, label in enumerate(labels) if label.name == "ignored"))
    if len(confusion) not in (len(places) - 1, len(places)):
        found = f"{len(confusion)} classes"
        raise SceneError("confusion", "must be of ApolloScape's 36 or 37 classes", found, "train with the fine classes")
    whole = empty_confusion()
    whole[np.ix_(places[: len(confusion)], places[: len(confusion)])] = confusion
    return whole


def empty_confusion() -> Confusion:
    """All counts 0, to sum over images."""
    return np.zeros((len(_ids()), len(_ids())), np.int64)


def apolloscape_scores(confusion: Confusion) -> ApolloScapeScores:
    """Scores of a confusion of one image, or summed over images and workers."""
    labels = apolloscape_labels()
    official = _iou(confusion, np.array([label.counted for label in labels]))
    trained = _iou(confusion, np.array([label.train_id != IGNORED for label in labels]))
    is_void = np.array([label.name == "void" for label in labels])
    return ApolloScapeScores(
        mean_iou=_mean(official),
        mean_iou_without_void=_mean(official[~is_void]),
        mean_iou_all=_mean(trained),
        class_iou={label.name: float(value) for label, value in zip(labels, official, strict=True)},
        class_iou_all={
            label.name: float(value) for label, value in zip(labels, trained, strict=True) if label.train_id != IGNORED
        },
    )


def _iou(confusion: Confusion, counted: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """IoU (38,) of the counted labels; NaN for the others, and where a label is neither in truth nor predicted."""
    right = confusion.diagonal()
    union = confusion.sum(axis=1) + confusion[counted].sum(axis=0) - right
    iou = np.full(len(confusion), np.nan)
    np.divide(right, union, out=iou, where=counted & (union > 0))
    return iou


def _mean(values: npt.NDArray[np.float64]) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")


@cache
def _ids() -> npt.NDArray[np.int64]:
    return np.array([label.id for label in apolloscape_labels()])


def _size(image: Ids) -> str:
    return " x ".join(str(side) for side in image.shape[::-1])
