"""ApolloScape's scores against the official script's (tests/golden/apolloscape) and hand values in id space."""

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from intra_search.errors import SceneError
from intra_search.metrics.apolloscape import (
    apolloscape_scores,
    confusion_of_train_ids,
    empty_confusion,
    id_confusion,
)
from intra_search.scenes.labels import apolloscape_labels, file_id_table

GOLDEN = Path(__file__).parents[1] / "golden" / "apolloscape"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())


def _read(name: str) -> np.ndarray:
    return np.asarray(cv2.imread(str(GOLDEN / name), cv2.IMREAD_UNCHANGED))


def _row(*ids: int) -> np.ndarray:
    return np.array([ids], np.uint8)


def test_equals_the_official_script() -> None:
    total = empty_confusion()
    for index in range(6):
        total += id_confusion(_read(f"{index:03}_gt.png"), _read(f"{index:03}_pred.png"))
    scores = apolloscape_scores(total)
    assert scores.mean_iou == pytest.approx(EXPECTED["mean_iou"], abs=1e-9)
    assert scores.mean_iou_without_void == pytest.approx(EXPECTED["mean_iou_without_void"], abs=1e-9)
    assert list(scores.class_iou) == list(EXPECTED["class_iou"])
    for name, value in EXPECTED["class_iou"].items():
        assert math.isnan(scores.class_iou[name]) if value is None else scores.class_iou[name] == pytest.approx(value)


def test_eighteen_labels_are_counted() -> None:
    assert sum(label.counted for label in apolloscape_labels()) == 18


def test_uncounted_truth_is_no_false_positive_but_uncounted_prediction_is_a_miss() -> None:
    # s_w_d = 200 counts; ds_w_dn = 213 and ignored = 255 do not
    truth = _row(200, 200, 200, 0, 213, 255)
    predicted = _row(200, 213, 255, 200, 200, 200)
    scores = apolloscape_scores(id_confusion(truth, predicted))
    assert scores.class_iou["s_w_d"] == pytest.approx(1 / (1 + 1 + 2))  # one from void, two missed
    assert scores.class_iou["void"] == 0.0
    assert math.isnan(scores.class_iou["ds_w_dn"])
    assert scores.mean_iou == pytest.approx(1 / 8)
    assert scores.mean_iou_without_void == pytest.approx(1 / 4)
    # among all 36, 213 counts too: s_w_d also takes its pixel; only ignored truth stays out
    assert scores.class_iou_all["s_w_d"] == pytest.approx(1 / (1 + 2 + 2))
    assert scores.class_iou_all["ds_w_dn"] == 0.0
    assert scores.mean_iou_all == pytest.approx((1 / 5 + 0 + 0) / 3)
    assert len(scores.class_iou_all) == 36


def test_absent_classes_are_nan_and_nothing_is_nan() -> None:
    scores = apolloscape_scores(empty_confusion())
    assert math.isnan(scores.mean_iou)
    assert all(math.isnan(value) for value in scores.class_iou.values())


def test_parts_sum_to_the_whole_whatever_the_height() -> None:
    draw = np.random.default_rng(0)
    ids = np.array([label.id for label in apolloscape_labels()], np.uint8)
    truth, predicted = ids[draw.integers(0, 38, (2, 40, 30))]
    whole = id_confusion(truth, predicted)
    np.testing.assert_array_equal(
        id_confusion(truth[:13], predicted[:13]) + id_confusion(truth[13:], predicted[13:]), whole
    )
    expected = empty_confusion()
    order = {value: index for index, value in enumerate(ids.tolist())}
    for a, b in zip(truth.ravel().tolist(), predicted.ravel().tolist(), strict=True):
        expected[order[a], order[b]] += 1
    np.testing.assert_array_equal(whole, expected)


@pytest.mark.parametrize("num_classes", [36, 37])
def test_training_scores_as_the_files_would(num_classes: int) -> None:
    draw = np.random.default_rng(2)
    truth, predicted = draw.integers(0, num_classes, (2, 30, 30))
    confusion = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(confusion, (truth, predicted), 1)
    ids = file_id_table().copy()
    ids[36] = 255  # the 37th trained class
    expected = id_confusion(ids[truth], ids[predicted])
    np.testing.assert_array_equal(confusion_of_train_ids(confusion), expected)


def test_other_class_counts_have_no_official_score() -> None:
    with pytest.raises(SceneError, match="found 10 classes"):
        confusion_of_train_ids(np.zeros((10, 10), np.int64))


def test_strange_ids_and_sizes_are_refused() -> None:
    with pytest.raises(SceneError, match=r"\[7\] in the label, \[36\] in the prediction"):
        id_confusion(_row(0, 7), _row(36, 200))
    with pytest.raises(SceneError, match="2 x 1 against 3 x 1"):
        id_confusion(_row(0, 0, 0), _row(0, 0))
