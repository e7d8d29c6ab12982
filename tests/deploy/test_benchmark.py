"""Scores of a split, frame by frame, are those that `score` finds in the files written beside them."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from intra_search.config.scenes import ScenesSettings
from intra_search.deploy.benchmark import HEADLINES, SCORERS, CulaneScorer, score_split
from intra_search.deploy.submission import Prediction
from intra_search.metrics.score import score_apolloscape, score_culane, score_llamas
from intra_search.scenes.scene_set import SceneSet, open_scenes
from intra_search.scenes.writers.formats import draw_data_set, draw_order

Predict = Callable[[NDArray[np.uint8]], Prediction]
SIZES = {"apolloscape": (96, 192), "culane": (590, 1640), "llamas": (717, 1276)}


def _drawn(root: Path, name: str, count: int, **changes: object) -> ScenesSettings:
    draw_data_set(root, name, draw_order(name, count, 0, *SIZES[name]))
    return ScenesSettings.model_validate({"dataset": name, "root": str(root), **changes})


def _oracle(scenes: SceneSet, num_classes: int, wrong: float = 0.0) -> Predict:
    """Predicts the labels of each frame in turn; a share `wrong` of the pixels gets a random class."""
    random = np.random.default_rng(0)
    turn = iter(range(len(scenes)))

    def predict(image: NDArray[np.uint8]) -> Prediction:
        labels = scenes.load(next(turn))[1].astype(np.int64)
        labels[labels == 255] = 0
        spoilt = random.random(labels.shape) < wrong
        labels[spoilt] = random.integers(0, num_classes, int(spoilt.sum()))
        return _sure(labels, num_classes)

    return predict


def _sure(labels: NDArray[np.integer], num_classes: int = 5) -> Prediction:
    """A prediction of these classes with certainty."""
    wanted = torch.from_numpy(labels.astype(np.int64))
    logits = torch.nn.functional.one_hot(wanted, num_classes).permute(2, 0, 1).float() * 9
    return Prediction(logits, None, labels.shape, 0)


@pytest.mark.parametrize("ignored_class", [False, True])
def test_apolloscape(tmp_path: Path, ignored_class: bool) -> None:
    settings = _drawn(tmp_path / "data", "apolloscape", 6, ignored_class=ignored_class)
    scenes = open_scenes(settings, "train")
    num_classes = 37 if ignored_class else 36
    perfect = score_split(scenes, settings, _oracle(scenes, num_classes))
    assert perfect["mean_iou"] == perfect["mean_iou_without_void"] == 1
    out = tmp_path / "out"
    found = score_split(scenes, settings, _oracle(scenes, num_classes, wrong=0.2), out=out)
    wanted = score_apolloscape(tmp_path / "data", out).to_json()
    assert wanted.pop("labels_passed_over") == 6 - len(scenes)
    assert found.pop("labels_passed_over") == 0
    assert found == wanted
    assert isinstance(found["mean_iou"], float)
    assert 0 < found["mean_iou"] < 0.9


def test_culane(tmp_path: Path) -> None:
    settings = _drawn(tmp_path / "data", "culane", 12)
    scenes = open_scenes(settings, "train")
    out = tmp_path / "out"
    found = score_split(scenes, settings, _oracle(scenes, 5, wrong=0.02), out=out)
    frames = tmp_path / "frames.txt"
    frames.write_text("".join(f"{name}.jpg\n" for name in scenes.names))
    wanted = score_culane(tmp_path / "data", out, frames)
    assert {key: found[key] for key in ("tp", "fp", "fn")} == wanted.total._asdict()
    assert found["f1"] == wanted.total.f1
    # Masks of the truth, decoded as the protocol says, give the lanes back.
    assert wanted.total.f1 > 0.9


def test_culane_on_frames_of_a_fifth(tmp_path: Path) -> None:
    """As on whole frames, the truth's masks give its lanes back, and lanes elsewhere are wrong."""
    draw_data_set(tmp_path, "culane", draw_order("culane", 12, 0, 118, 328))
    settings = ScenesSettings(dataset="culane", root=str(tmp_path))
    scenes = open_scenes(settings, "train")
    found, shifted = CulaneScorer(settings), CulaneScorer(settings)
    for index, name in enumerate(scenes.names):
        labels = scenes.load(index)[1]
        found.add(name, labels, _sure(labels))
        shifted.add(name, labels, _sure(np.roll(labels, 16, axis=1)))
    f1 = found.to_json()["f1"]
    assert isinstance(f1, float)
    assert f1 > 0.9
    assert shifted.to_json()["tp"] == 0


@pytest.mark.parametrize("classes", ["fine", "category"])
def test_llamas(tmp_path: Path, classes: str) -> None:
    settings = _drawn(tmp_path / "data", "llamas", 4, classes=classes)
    scenes = open_scenes(settings, "test")
    out = tmp_path / "out"
    num_classes = len(scenes.classes)
    steps: list[int] = []
    predict = _oracle(scenes, num_classes, wrong=0.01)
    found = score_split(scenes, settings, predict, out=out, progress=steps.append)
    labels = tmp_path / "data" / "labels" / "valid"
    soft, hard = (
        score_llamas(labels, out / kind, binary=classes == "category").to_json() for kind in ("probabilities", "masks")
    )
    assert found == {**soft, "hard_masks": hard}
    assert steps == list(range(1, len(scenes) + 1))


@pytest.mark.parametrize(
    ("name", "changes"),
    [("apolloscape", {"ignored_class": True}), ("culane", {}), ("llamas", {}), ("llamas", {"classes": "category"})],
)
def test_shares_of_workers_add_up(tmp_path: Path, name: str, changes: dict[str, object]) -> None:
    """Three workers, one of them without a frame, count what one counts."""
    settings = _drawn(tmp_path / "data", name, 4, **changes)
    scenes = open_scenes(settings, "train")
    num_classes = len(scenes.classes)
    predictions = [_oracle(scenes, num_classes, wrong=0.02)] * len(scenes)
    frames = [(title, *scenes.load(index)) for index, title in enumerate(scenes.names)]
    counted = [
        (title, labels, predict(image)) for (title, image, labels), predict in zip(frames, predictions, strict=True)
    ]
    alone, *workers = (SCORERS[name](settings) for _ in range(4))
    for index, frame in enumerate(counted):
        alone.add(*frame)
        workers[index % 2].add(*frame)
    total = sum(worker.totals for worker in workers)
    assert isinstance(total, np.ndarray)
    np.testing.assert_allclose(total, alone.totals, rtol=1e-12)
    workers[2].totals = alone.totals
    assert workers[2].to_json() == alone.to_json()
    assert isinstance(alone.to_json()[next(iter(HEADLINES[name].values()))], float)


@pytest.mark.real
def test_real_masks_decode_to_the_real_lanes() -> None:
    """The sample's frames at their own size: what a perfect network would score."""
    root = Path(os.environ.get("INTRA_SEARCH_REAL_DATA", "unset")) / "culane60"
    if not root.is_dir():
        pytest.skip(f"no data at {root} (INTRA_SEARCH_REAL_DATA)")
    settings = ScenesSettings(dataset="culane", root=str(root))
    scenes = open_scenes(settings, "val")
    found = score_split(scenes, settings, _oracle(scenes, 5))
    assert isinstance(found["f1"], float)
    assert found["f1"] > 0.95
