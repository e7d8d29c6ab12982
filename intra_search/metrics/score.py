"""The metrics of the three benchmarks on folders of predictions, from any tool: `intra-search score`."""

import json
import math
import operator
import os
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from intra_search.errors import SceneError, SettingError
from intra_search.metrics.apolloscape import (
    ApolloScapeScores,
    Confusion,
    Ids,
    apolloscape_scores,
    id_confusion,
)
from intra_search.metrics.culane import SCENARIOS, LaneCounts, LaneRule, count_frame, total_counts
from intra_search.metrics.llamas import NUM_CLASSES, LlamasSums, image_sums
from intra_search.metrics.tally import TallyOptions, tally
from intra_search.scenes.apolloscape import labels_of_predicted_records, submission_labels
from intra_search.scenes.files import files_below, read_text
from intra_search.scenes.images import read_grey, read_mask
from intra_search.scenes.labels import UNKNOWN, apolloscape_labels
from intra_search.scenes.lane_files import LANES_SUFFIX, lanes_name, read_frame_list, read_lanes
from intra_search.scenes.llamas_labels import SIZE, binary_mask, class_mask, read_label

Json = dict[str, object]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _folder(path: Path, role: str) -> Path:
    if not os.path.isdir(path):
        found = "a file" if os.path.exists(path) else "nothing there"
        raise SceneError(str(path), f"must be the folder of {role}", found, "check the path")
    return path


# CULane


class CulaneReport(NamedTuple):
    """Counts over a list of frames, and per scenario if scenario lists were given."""

    total: LaneCounts
    scenarios: dict[str, LaneCounts]
    num_frames: int
    missing_predictions: int
    """Frames without a prediction file; they count as frames without predicted lanes."""
    unlisted_predictions: int
    """Prediction files of frames that are in no list; they are not counted, since a list may name only some frames."""
    missing_scenarios: list[str]
    """Scenario lists that do not exist."""
    skipped: list[str]

    def to_json(self) -> Json:
        report: Json = {**_counts_json(self.total), "num_frames": self.num_frames}
        if self.scenarios:
            report["scenarios"] = {name: _counts_json(counts) for name, counts in self.scenarios.items()}
            report["missing_scenarios"] = self.missing_scenarios
        counted = {
            "missing_predictions": self.missing_predictions,
            "unlisted_predictions": self.unlisted_predictions,
        }
        return {**report, **counted, "skipped": self.skipped}


def _counts_json(counts: LaneCounts) -> Json:
    return {**counts._asdict(), "precision": counts.precision, "recall": counts.recall, "f1": counts.f1}


def score_culane(
    annotations: Path,
    predictions: Path,
    frame_list: Path,
    *,
    rule: LaneRule | None = None,
    splits: Path | None = None,
    options: TallyOptions | None = None,
) -> CulaneReport:
    """CULane's F1 over the frames of a list. Both folders hold `<image name>.lines.txt`, with the list's image names.

    `splits` is the folder of the nine scenario lists; those that exist are scored. A missing prediction file counts as
    a frame without lanes, but not all may be missing.
    """
    rule = _checked_rule(rule or LaneRule())
    _folder(annotations, "annotations")
    _folder(predictions, "predictions")
    bad_lines: list[str] | None = [] if options and options.skip_bad else None
    names = read_frame_list(frame_list, bad_lines)
    split_files = _split_files(splits) if splits else {}
    scenario_names = {key: read_frame_list(path, bad_lines) for key, path in split_files.items()}
    frames = list(dict.fromkeys([*names, *(name for listed in scenario_names.values() for name in listed)]))
    missing, unlisted = _compared_with_lists(predictions, frames)
    count = partial(_count_culane_frame, annotations, predictions, rule)
    counts, skipped = tally(count, operator.or_, frames, options)

    def total(listed: Iterable[str]) -> LaneCounts:
        return total_counts(counts[name] for name in listed if name in counts)

    scenarios = {key: total(listed) for key, listed in scenario_names.items()}
    num_frames = sum(name in counts for name in names)
    absent = [file for key, file in SCENARIOS.items() if splits and key not in split_files]
    return CulaneReport(total(names), scenarios, num_frames, missing, unlisted, absent, [*(bad_lines or []), *skipped])


def _compared_with_lists(predictions: Path, frames: list[str]) -> tuple[int, int]:
    """The numbers of listed frames without a prediction file, and of prediction files of frames in no list."""
    listed = {predictions / lanes_name(name): None for name in frames}
    missing = sum(not os.path.exists(path) for path in listed)
    if missing == len(listed):
        found = f"no {next(iter(listed))}"
        raise SceneError(str(predictions), "must hold predictions for the list", found, "check the path")
    return missing, sum(path not in listed for path in files_below(predictions, f"*{LANES_SUFFIX}").values())


def _split_files(splits: Path) -> dict[str, Path]:
    """The scenario lists that exist."""
    found = {key: splits / file for key, file in SCENARIOS.items() if os.path.exists(splits / file)}
    if not found:
        rule, remedy = "must be the folder of the scenario lists (test0_normal.txt, …)", "check the path"
        raise SceneError(str(splits), rule, "none of them", remedy)
    return found


_MOST_PIXELS = 10_000
"""Longest side of a canvas and broadest brush: more than any camera has, but OpenCV can still draw it."""


def _checked_rule(rule: LaneRule) -> LaneRule:
    if not 1 <= rule.brush <= _MOST_PIXELS:
        raise SettingError("--width", f"must be 1 to {_MOST_PIXELS} pixels", rule.brush, "CULane uses 30")
    if not 0 <= rule.iou < 1:
        raise SettingError("--iou", "must lie in 0 <= iou < 1", rule.iou, "CULane uses 0.5")
    if not 1 <= min(rule.size) <= max(rule.size) <= _MOST_PIXELS:
        found = f"{rule.size[0]}x{rule.size[1]}"
        raise SettingError("--image-size", f"sides must be 1 to {_MOST_PIXELS} pixels", found, "CULane's is 1640x590")
    return rule


def _count_culane_frame(annotations: Path, predictions: Path, rule: LaneRule, name: str) -> dict[str, LaneCounts]:
    predicted = predictions / lanes_name(name)
    truth = read_lanes(annotations / lanes_name(name))
    return {name: count_frame(truth, read_lanes(predicted) if os.path.exists(predicted) else [], rule)}


# ApolloScape


class ApolloScapeReport(NamedTuple):
    """Scores over all pairs of ID images."""

    scores: ApolloScapeScores
    num_images: int
    num_passed_over: int
    """Labels of records without any prediction, in a data set's root."""
    skipped: list[str]

    def to_json(self) -> Json:
        scores = self.scores
        return {
            "mean_iou": _number(scores.mean_iou),
            "mean_iou_without_void": _number(scores.mean_iou_without_void),
            "mean_iou_all": _number(scores.mean_iou_all),
            "class_iou": {name: _number(value) for name, value in scores.class_iou.items()},
            "num_images": self.num_images,
            "labels_passed_over": self.num_passed_over,
            "skipped": self.skipped,
        }


def score_apolloscape(labels: Path, predictions: Path, options: TallyOptions | None = None) -> ApolloScapeReport:
    """ApolloScape's mean IoU over PNGs of official ids, paired by their path below the two folders.

    `labels` may also be the data set's root, whose `Labels_road02/Label/Record001/Camera 5/<image>_bin.png` is then
    paired with a submission's `road02/<image>.png`. PNGs are grey or palette images of ids, or RGB in the official
    colours. Every label must have a prediction, and every prediction a label. The exception: below a data set's root,
    records without any prediction are left out (their labels are counted), since splits consist of whole records.
    """
    truth, predicted = _id_images(labels, "labels"), _id_images(predictions, "predictions")
    num_passed_over = 0
    if not truth.keys() & predicted.keys() and (official := submission_labels(labels)):
        truth = labels_of_predicted_records(official, predicted)
        num_passed_over = len(official) - len(truth)
    pairs = [
        (truth.get(name, labels / name), predicted.get(name, predictions / name))
        for name in sorted(truth.keys() | predicted.keys())
    ]
    confusion, skipped = tally(_count_apolloscape_pair, operator.add, pairs, options)
    return ApolloScapeReport(apolloscape_scores(confusion), len(pairs) - len(skipped), num_passed_over, skipped)


def _id_images(root: Path, role: str) -> dict[str, Path]:
    """PNGs by their path below a folder."""
    found = files_below(_folder(root, role), "*.png")
    if not found:
        raise SceneError(str(root), f"must hold PNG {role}", "none", "check the path")
    return found


def _count_apolloscape_pair(pair: tuple[Path, Path]) -> Confusion:
    label, prediction = pair
    truth = _read_ids(label, f"the label of {prediction}")
    predicted = _read_ids(prediction, f"the prediction for {label}")
    try:
        return id_confusion(truth, predicted)
    except SceneError as error:
        raise SceneError(str(prediction), error.rule, error.found, error.remedy) from None


def _read_ids(path: Path, role: str) -> Ids:
    if not os.path.isfile(path):
        raise SceneError(str(path), f"must exist: it is {role}", "no such file", "add it, or remove its counterpart")
    table = np.full(256, UNKNOWN, np.uint8)
    colours = {}
    for label in apolloscape_labels():
        table[label.id] = label.id
        colours[label.color] = label.id
    return read_mask(path, table, colours)


# LLAMAS

_PREDICTION = re.compile(r"(?P<label>.+\.json)_(?P<key>\d+)\.png")
_KEYS = tuple(str(index) for index in range(NUM_CLASSES))
_LABEL_KEYS = {"lanes", "projection_matrix"}


class LlamasReport(NamedTuple):
    """Mean scores over all label files."""

    sums: LlamasSums
    not_labels: list[str]
    """JSON files among the labels that hold something else and have no predictions; left out."""
    not_predictions: list[str]
    """PNGs among the predictions whose name is not that of a label file and a class; left out."""
    skipped: list[str]

    def to_json(self) -> Json:
        means = self.sums.means()
        return {
            "auc": {name: scores.auc for name, scores in means.items()},
            "mean_average_precision": self.sums.mean_average_precision,
            "exact_average_precision": {name: scores.exact_ap for name, scores in means.items()},
            "mean_exact_average_precision": self.sums.mean_exact_ap,
            "corner": {
                name: {"precision": scores.precision, "recall": scores.recall, "threshold": scores.threshold}
                for name, scores in means.items()
            },
            "num_images": self.sums.num_images,
            "not_labels": self.not_labels,
            "not_predictions": self.not_predictions,
            "skipped": self.skipped,
        }


def score_llamas(
    labels: Path, predictions: Path, *, binary: bool = False, options: TallyOptions | None = None
) -> LlamasReport:
    """LLAMAS' official areas over all label files. A label `a/b.json` has the predictions `a/b.json_<class>.png`, for
    the classes 0 to 4 (background, l1, l0, r0, r1), or for class 1 alone in the binary task."""
    _folder(labels, "label files")
    _folder(predictions, "predictions")
    found = _found_predictions(predictions, skip_bad=options is not None and options.skip_bad)
    files = sorted(files_below(labels, "*.json"))
    not_labels = [name for name in files if name not in found.labels and not _is_label(labels / name)]
    names = sorted({*files, *found.labels} - set(not_labels))
    if len(not_labels) == len(files):
        raise SceneError(str(labels), "must hold LLAMAS label files (.json)", "none", "check the path")
    count = partial(_count_llamas_image, labels, predictions, binary)
    sums, skipped = tally(count, LlamasSums.merged, names, options)
    return LlamasReport(sums, not_labels, found.others, [*found.skipped, *skipped])


class _FoundPredictions(NamedTuple):
    labels: set[str]
    """Label files that the predictions' names contain."""
    others: list[str]
    """PNGs with other names."""
    skipped: list[str]
    """Predictions of a class that does not exist."""


def _found_predictions(predictions: Path, *, skip_bad: bool) -> _FoundPredictions:
    found = _FoundPredictions(set(), [], [])
    for name in sorted(files_below(predictions, "*.png")):
        match = _PREDICTION.fullmatch(name)
        if match is None:
            found.others.append(name)
        elif match["key"] in _KEYS:
            found.labels.add(match["label"])
        else:
            rule, remedy = f"must be of a class {_KEYS[0]} to {_KEYS[-1]}", "rename or remove it"
            error = SceneError(str(predictions / name), rule, f"class {match['key']}", remedy)
            if not skip_bad:
                raise error
            found.skipped.append(str(error))
    return found


def _is_label(path: Path) -> bool:
    """Whether a JSON file is meant as a label. An unreadable one counts as a label, so that it is reported."""
    try:
        content = json.loads(read_text(path, "must be readable", "check it"))
    except (SceneError, ValueError, RecursionError):
        return True
    return isinstance(content, Mapping) and not _LABEL_KEYS.isdisjoint(content)


def _count_llamas_image(labels: Path, predictions: Path, binary: bool, name: str) -> LlamasSums:
    path = labels / name
    if not os.path.isfile(path):
        found = f"predictions {predictions / name}_<class>.png without it"
        raise SceneError(str(path), "must exist", found, "add the label file or remove its predictions")
    keys = ("1",) if binary else _KEYS
    images = {key: _read_probability(predictions / f"{name}_{key}.png") for key in keys}
    label = read_label(path)
    try:
        mask = binary_mask(label) if binary else class_mask(label)
    except SceneError as error:
        raise SceneError(str(path), error.rule, error.found, error.remedy) from None
    return image_sums(images, {key: mask == int(key) for key in keys})


def _read_probability(path: Path) -> Ids:
    """Grey image (717, 1276): 255 times the probability."""
    if not os.path.isfile(path):
        raise SceneError(str(path), "must exist: a class's prediction", "no such file", "write one PNG per class")
    image = read_grey(path)
    width, height = SIZE
    if image.shape != (height, width):
        found = f"{image.shape[1]} x {image.shape[0]}"
        raise SceneError(str(path), f"must be {width} x {height} pixels", found, "predict at full resolution")
    return image
