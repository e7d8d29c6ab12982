"""LLAMAS' areas against the official script's (tests/golden/llamas), 101 plain passes, and hand values."""

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from intra_search.errors import SceneError
from intra_search.metrics.llamas import CurveScores, LlamasSums, curve_scores, image_sums

GOLDEN = Path(__file__).parents[1] / "golden" / "llamas"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())
FIELDS = ("auc", "recall", "precision", "threshold")


def _read(name: str) -> np.ndarray:
    return np.asarray(cv2.imread(str(GOLDEN / name), cv2.IMREAD_UNCHANGED))


def _golden_sums(name: str) -> tuple[LlamasSums, LlamasSums]:
    label, binary = _read(f"{name}.label.png"), _read(f"{name}.binary.png")
    grey = {str(index): _read(f"{name}.json_{index}.png") for index in range(5)}
    multi = image_sums(grey, {str(index): label == index for index in range(5)})
    return multi, image_sums({"binary": grey["1"]}, {"binary": binary == 1})


def test_every_image_and_class_equals_the_official_script() -> None:
    for name, classes in EXPECTED["per_image"].items():
        multi, binary = _golden_sums(name)
        found = {**multi.sums, **binary.sums}
        assert found.keys() == classes.keys()
        for key, official in classes.items():
            scores = found[key]._asdict()
            assert {field: scores[field] for field in FIELDS} == pytest.approx(official, abs=1e-9)


def test_means_equal_the_official_script() -> None:
    multi, binary = LlamasSums(0, {}), LlamasSums(0, {})
    for name in EXPECTED["per_image"]:
        one, other = _golden_sums(name)
        multi, binary = multi.merged(one), binary.merged(other)
    found = {key: scores.auc for key, scores in {**multi.means(), **binary.means()}.items()}
    assert found == pytest.approx(EXPECTED["mean_auc"], abs=1e-9)
    assert multi.mean_average_precision == pytest.approx(EXPECTED["multi_class_map"], abs=1e-9)
    assert binary.mean_average_precision == pytest.approx(EXPECTED["mean_auc"]["binary"], abs=1e-9)


def _passes(prediction: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Official area by 101 passes, and the exact one by a pass per grey value; both as sums of plain rectangles."""
    share = prediction.astype(float) / 255

    def point(threshold: float) -> tuple[float, float]:
        taken = share >= threshold
        right = (taken & truth).sum()
        return right / truth.sum() if truth.any() else 0.0, right / taken.sum() if taken.any() else 0.0

    auc, before = 0.0, (0.0, 1.0)
    for step in range(101):
        after = point((100 - step) / 100)
        auc += (after[0] - before[0]) * before[1]
        before = after
    exact, recall = 0.0, 0.0
    for level in range(255, -1, -1):
        after = point(level / 255)
        exact += (after[0] - recall) * after[1]
        recall = after[0]
    return auc, exact


@pytest.mark.parametrize("seed", range(12))
def test_equals_pass_after_pass(seed: int) -> None:
    draw = np.random.default_rng(seed)
    truth = draw.random((9, 11)) < draw.choice([0.0, 0.1, 0.5])
    soft = draw.integers(0, 256, truth.shape)
    prediction = (np.where(truth, 255 - soft // 3, soft) if seed % 2 else (soft > 128) * 255).astype(np.uint8)
    scores = curve_scores(prediction, truth)
    auc, exact = _passes(prediction, truth)
    assert scores.auc == pytest.approx(auc, abs=1e-12)
    assert scores.exact_ap == pytest.approx(exact, abs=1e-12)


def test_a_hard_mask_games_the_official_area_but_not_the_exact_one() -> None:
    truth = np.zeros(1000, bool)
    truth[:20] = True
    prediction = np.zeros(1000, np.uint8)
    prediction[4:30] = 255  # 16 of 20 found, 10 wrong: R = 0.8, P = 16 / 26
    recall, precision, share = 0.8, 16 / 26, 0.02
    hard = curve_scores(prediction, truth)
    assert hard.auc == pytest.approx(recall + (1 - recall) * precision)
    assert hard.exact_ap == pytest.approx(recall * precision + (1 - recall) * share)
    dimmed = curve_scores(np.where(prediction > 0, np.uint8(250), np.uint8(0)), truth)
    assert dimmed.auc == pytest.approx((1 - recall) * precision)  # the first step starts from precision 0
    assert dimmed.exact_ap == pytest.approx(hard.exact_ap)


def test_a_perfect_mask_scores_one_and_an_absent_class_zero() -> None:
    truth = np.array([[True, False]])
    assert curve_scores(np.array([[255, 0]], np.uint8), truth) == CurveScores(1.0, 1.0, 1.0, 1.0, 1.0)
    assert curve_scores(np.array([[255, 0]], np.uint8), np.zeros((1, 2), bool)) == CurveScores(0.0, 0.0, 0.0, 0.0, 0.0)


def test_merging_is_the_mean_over_all_images() -> None:
    draw = np.random.default_rng(1)
    parts = []
    for _ in range(4):
        truth = draw.random((5, 6)) < 0.3
        grey = draw.integers(0, 256, (5, 6)).astype(np.uint8)
        parts.append(image_sums({"1": grey}, {"1": truth}))
    left = parts[0].merged(parts[1]).merged(parts[2].merged(parts[3]))
    assert left.num_images == 4
    assert left.means()["1"].auc == pytest.approx(np.mean([part.sums["1"].auc for part in parts]))
    assert math.isnan(LlamasSums(0, {}).mean_average_precision)


def test_sizes_must_agree() -> None:
    with pytest.raises(SceneError, match="must have the label's size"):
        curve_scores(np.zeros((2, 3), np.uint8), np.zeros((3, 2), bool))
