"""Official scores of a network on a split, frame by frame at full resolution; predictions can be written to files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from intra_search.config.scenes import ScenesSettings
from intra_search.deploy.submission import (
    Prediction,
    culane_lanes,
    llamas_maps,
    train_ids,
    write_apolloscape,
    write_culane,
    write_llamas,
)
from intra_search.metrics.apolloscape import apolloscape_scores, confusion_of_train_ids
from intra_search.metrics.culane import LaneCounts, at_official_size, count_frame
from intra_search.metrics.histograms import pair_counts
from intra_search.metrics.llamas import NUM_CLASSES, CurveScores, LlamasSums, image_sums
from intra_search.metrics.score import ApolloScapeReport, Json, LlamasReport
from intra_search.scenes.images import read_image
from intra_search.scenes.lane_files import Lane, lanes_name, read_lanes
from intra_search.scenes.scene_set import SceneSet
from intra_search.scenes.unlabelled import Picture

Labels = NDArray[np.uint8]
Totals = NDArray[np.float64]


class FrameScorer(Protocol):
    """Counts frame after frame and computes the official scores from the counts."""

    def add(self, name: str, labels: Labels, prediction: Prediction) -> None:
        """Counts one frame, given its labels (H, W) in trained classes and the network's prediction."""

    def check(self, name: str) -> None:
        """Reads the other files that `add` reads for a frame. Raises `SceneError` when one cannot be used."""

    def write(self, out: Path, name: str, prediction: Prediction) -> None:
        """Writes one frame's prediction in the submission format."""

    @property
    def totals(self) -> Totals:
        """All counts as one vector. To get scores over all workers, set it to the sum of their vectors."""

    @totals.setter
    def totals(self, totals: Totals) -> None: ...

    def to_json(self) -> Json:
        """The official scores under the keys of `intra-search score`."""


class ApolloScapeScorer:
    """ApolloScape's mean IoU, counted in official ids."""

    def __init__(self, settings: ScenesSettings) -> None:
        self._num_classes = 37 if settings.ignored_class else 36
        self._confusion = np.zeros((self._num_classes, self._num_classes), np.int64)
        self._num_images = 0

    def add(self, name: str, labels: Labels, prediction: Prediction) -> None:
        pairs = pair_counts(labels, train_ids(prediction))
        self._confusion += pairs[: self._num_classes, : self._num_classes]
        self._num_images += 1

    def check(self, name: str) -> None:
        """Nothing to do: `add` reads no other file."""

    def write(self, out: Path, name: str, prediction: Prediction) -> None:
        write_apolloscape(out, name, prediction)

    @property
    def totals(self) -> Totals:
        return np.append(self._confusion.ravel(), self._num_images).astype(np.float64)

    @totals.setter
    def totals(self, totals: Totals) -> None:
        self._confusion = totals[:-1].astype(np.int64).reshape(self._confusion.shape)
        self._num_images = int(totals[-1])

    def to_json(self) -> Json:
        scores = apolloscape_scores(confusion_of_train_ids(self._confusion))
        return ApolloScapeReport(scores, self._num_images, 0, []).to_json()


class CulaneScorer:
    """F1 of lanes against the .lines.txt files beside the frames. Frames of other sizes are scaled to the official
    size."""

    def __init__(self, settings: ScenesSettings) -> None:
        self._root = Path(settings.root or "")
        self._counts = LaneCounts()
        self._num_frames = 0

    def add(self, name: str, labels: Labels, prediction: Prediction) -> None:
        height, width = prediction.size
        truth, found = (
            at_official_size(lanes, (width, height)) for lanes in (self._truth(name), culane_lanes(prediction))
        )
        self._counts = self._counts.merged(count_frame(truth, found))
        self._num_frames += 1

    def check(self, name: str) -> None:
        self._truth(name)

    def write(self, out: Path, name: str, prediction: Prediction) -> None:
        write_culane(out, name, prediction)

    @property
    def totals(self) -> Totals:
        return np.array([*self._counts, self._num_frames], np.float64)

    @totals.setter
    def totals(self, totals: Totals) -> None:
        *counts, self._num_frames = totals.astype(int).tolist()
        self._counts = LaneCounts(*counts)

    def to_json(self) -> Json:
        counts = self._counts
        scores = {"precision": counts.precision, "recall": counts.recall, "f1": counts.f1}
        return {**counts._asdict(), **scores, "num_frames": self._num_frames}

    def _truth(self, name: str) -> list[Lane]:
        return read_lanes(self._root / lanes_name(f"{name}.jpg"))


class LlamasScorer:
    """AUC of probability maps, and of hard masks as the authors submit them; files in `probabilities/` and `masks/`."""

    def __init__(self, settings: ScenesSettings) -> None:
        self._keys = ("1",) if settings.classes == "category" else tuple(str(key) for key in range(NUM_CLASSES))
        self._sums = {False: LlamasSums(0, {}), True: LlamasSums(0, {})}

    def add(self, name: str, labels: Labels, prediction: Prediction) -> None:
        for hard, sums in self._sums.items():
            maps = llamas_maps(prediction, hard=hard)
            self._sums[hard] = sums.merged(image_sums(maps, {key: labels == int(key) for key in self._keys}))

    @property
    def totals(self) -> Totals:
        nothing = CurveScores(*[0.0] * len(CurveScores._fields))
        scores = [sums.sums.get(key, nothing) for sums in self._sums.values() for key in self._keys]
        return np.append(np.array(scores).ravel(), self._sums[False].num_images)

    @totals.setter
    def totals(self, totals: Totals) -> None:
        num_images = int(totals[-1])
        for hard, part in zip(self._sums, np.split(totals[:-1], len(self._sums)), strict=True):
            rows = part.reshape(len(self._keys), -1).tolist()
            sums = {key: CurveScores(*row) for key, row in zip(self._keys, rows, strict=True)}
            self._sums[hard] = LlamasSums(num_images, sums if num_images else {})

    def check(self, name: str) -> None:
        """Nothing to do: `add` reads no other file."""

    def write(self, out: Path, name: str, prediction: Prediction) -> None:
        write_llamas(out / "probabilities", name, prediction, hard=False)
        write_llamas(out / "masks", name, prediction, hard=True)

    def to_json(self) -> Json:
        soft, hard = (LlamasReport(self._sums[kind], [], [], []).to_json() for kind in (False, True))
        return {**soft, "hard_masks": hard}


SCORERS: dict[str, Callable[[ScenesSettings], FrameScorer]] = {
    "apolloscape": ApolloScapeScorer,
    "culane": CulaneScorer,
    "llamas": LlamasScorer,
}
"""Data sets with an official metric."""
HEADLINES: dict[str, dict[str, str]] = {
    "apolloscape": {"official_miou": "mean_iou", "official_miou_without_void": "mean_iou_without_void"},
    "culane": {"f1": "f1", "precision": "precision", "recall": "recall"},
    "llamas": {"mean_ap": "mean_average_precision", "mean_exact_ap": "mean_exact_average_precision"},
}
"""For each data set: names of official scores in a history (after `val/`), and their keys in the scorer's JSON. A
search may maximise the first."""


def write_submission(
    pictures: Sequence[Picture],
    settings: ScenesSettings,
    predict: Callable[[NDArray[np.uint8]], Prediction],
    out: Path,
) -> None:
    """Writes predictions for frames without labels, in the format of the benchmark's own server.

    Raises `SceneError` for a picture that cannot be read."""
    scorer = SCORERS[settings.dataset](settings)
    for picture in pictures:
        scorer.write(out, picture.name, predict(read_image(picture.path)))


def score_split(
    scenes: SceneSet,
    settings: ScenesSettings,
    predict: Callable[[NDArray[np.uint8]], Prediction],
    *,
    out: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Json:
    """Official scores of one split of a benchmark: those that `intra-search score` gives for the written files.

    `predict` is called with one RGB frame. With `out`, predictions are written there in the submission format.
    `settings.dataset` must be one of `SCORERS`. Raises `SceneError` for a frame that cannot be read."""
    scorer = SCORERS[settings.dataset](settings)
    for index, name in enumerate(scenes.names):
        image, labels = scenes.load(index)
        prediction = predict(image)
        scorer.add(name, labels, prediction)
        if out is not None:
            scorer.write(out, name, prediction)
        if progress is not None:
            progress(index + 1)
    return scorer.to_json()
