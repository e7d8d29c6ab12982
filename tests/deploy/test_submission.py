"""Submission files: the right names, sizes and values, and a crop's rows put back."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from intra_search.config.scenes import ScenesSettings
from intra_search.deploy.prediction import Predictor, resized_labels
from intra_search.deploy.submission import (
    Prediction,
    _blur,
    apolloscape_ids,
    culane_lanes,
    llamas_maps,
    predicted,
    train_ids,
    write_apolloscape,
    write_culane,
    write_llamas,
)
from intra_search.errors import SettingError
from intra_search.networks.build import build_network
from intra_search.networks.existence import LaneNetwork
from intra_search.networks.placement import place
from intra_search.scenes.lane_files import read_lanes


def _prediction(
    labels: np.ndarray, num_classes: int, cut: int = 0, size: tuple[int, int] | None = None, scale: float = 20.0
) -> Prediction:
    """A network that predicts `labels` (h, w) with certainty."""
    logits = torch.nn.functional.one_hot(torch.from_numpy(labels).long(), num_classes).permute(2, 0, 1).float() * scale
    height, width = labels.shape
    return Prediction(logits, None, size or (height + cut, width), cut)


def test_classes_come_back_to_the_frames_size_below_the_crop() -> None:
    labels = np.array([[1, 2], [3, 0]], np.uint8)
    found = train_ids(_prediction(labels, 4, cut=6, size=(10, 8)))
    assert found.shape == (10, 8)
    assert not found[:6].any()
    assert [found[6, 0], found[6, 7], found[9, 0], found[9, 7]] == [1, 2, 3, 0]


def test_logits_are_resized_and_not_labels() -> None:
    """Between a sure 0 and an unsure 1, the border lies nearer to the unsure one."""
    logits = torch.tensor([[[10.0, 0.0]], [[0.0, 2.0]]])
    found = train_ids(Prediction(logits, None, (1, 100), 0))
    assert 70 > np.flatnonzero(found[0])[0] > 55


def test_train_ids_become_official_ids() -> None:
    labels = np.array([[0, 1, 25, 35]], np.uint8)
    assert apolloscape_ids(_prediction(labels, 36)).tolist() == [[0, 200, 225, 250]]
    with_ignored = np.array([[36, 18]], np.uint8)
    assert apolloscape_ids(_prediction(with_ignored, 37)).tolist() == [[255, 214]]


def test_apolloscape_files(tmp_path: Path) -> None:
    prediction = _prediction(np.array([[12, 0]], np.uint8), 36, cut=1, size=(2, 2))
    path = write_apolloscape(tmp_path, "road05/Record001/Camera_5/171206_Camera_5", prediction)
    assert path == tmp_path / "road05" / "171206_Camera_5.png"
    image = Image.open(path)
    assert image.mode == "L"
    assert np.array(image).tolist() == [[0, 0], [217, 0]]


def _lane_prediction(existence: list[float] | None) -> Prediction:
    """At 350 x 1640 below a crop of 240 rows: lane 2 upright at column 400, lane 3 at column 1200."""
    labels = np.zeros((350, 1640), np.uint8)
    labels[:, 392:409] = 2
    labels[:, 1192:1209] = 3
    found = None if existence is None else np.array(existence, np.float32)
    return _prediction(labels, 5, cut=240)._replace(existence=found)


def test_lanes_are_decoded_in_the_whole_frame() -> None:
    left, right = culane_lanes(_lane_prediction(None))
    assert abs(left[:, 0] - 400).max() <= 8
    assert abs(right[:, 0] - 1200).max() <= 8
    assert left[:, 1].tolist() == [589.0 - 20 * step for step in range(18)]


def test_existence_decides_which_lanes_are_there(tmp_path: Path) -> None:
    path = write_culane(tmp_path, "driver/clip.MP4/00030", _lane_prediction([0.9, 0.2, 0.6, 0.9]))
    assert path == tmp_path / "driver" / "clip.MP4" / "00030.lines.txt"
    (lane,) = read_lanes(path)
    assert abs(lane[:, 0] - 1200).max() <= 8
    assert write_culane(tmp_path, "none", _lane_prediction([0.0] * 4)).read_text() == ""


@pytest.mark.parametrize(("columns", "blur"), [(976, 9), (1640, 9), (800, 9), (448, 5), (96, 1)])
def test_the_blur_shrinks_with_small_maps(columns: int, blur: int) -> None:
    """Stroke as broad as a labelled lane at this width; both ends of its blurred profile stay above the threshold."""
    assert _blur(columns) == blur
    stroke = max(1, round(16 * columns / 1640))
    labels = np.zeros((60, columns), np.uint8)
    labels[:, columns // 2 : columns // 2 + stroke] = 2
    (lane,) = culane_lanes(_prediction(labels, 5, cut=240, size=(590, 1640)))
    assert len(lane) == 18
    assert abs(lane[:, 0] - 820).max() < 20


def test_llamas_maps_are_probabilities_or_masks(tmp_path: Path) -> None:
    labels = np.array([[0, 4]], np.uint8)
    prediction = _prediction(labels, 5, cut=1, scale=1.0)
    share = np.exp(1) / (np.exp(1) + 4)
    soft = llamas_maps(prediction, hard=False)
    assert list(soft) == ["0", "1", "2", "3", "4"]
    assert soft["4"].tolist() == [[0, 0], [round(255 * (1 - share) / 4), round(255 * share)]]
    assert soft["0"].tolist() == [[255, 255], [round(255 * share), round(255 * (1 - share) / 4)]]
    hard = llamas_maps(prediction, hard=True)
    assert hard["4"].tolist() == [[0, 0], [0, 255]]
    assert hard["0"].tolist() == [[255, 255], [255, 0]]
    paths = write_llamas(tmp_path, "drive/1400", prediction, hard=True)
    assert [path.name for path in paths] == [f"1400.json_{index}.png" for index in range(5)]
    assert np.array(Image.open(paths[4])).tolist() == hard["4"].tolist()


def test_the_binary_task_is_one_image() -> None:
    prediction = _prediction(np.array([[0, 1]], np.uint8), 2)
    assert {key: image.tolist() for key, image in llamas_maps(prediction, hard=True).items()} == {"1": [[0, 255]]}


@pytest.mark.parametrize("lanes", [0, 4])
def test_a_checkpoints_answer(lanes: int) -> None:
    """The network sees the rows below the paper's crop at its own size, and may know which lanes are there."""
    torch.manual_seed(0)
    network = build_network("erfnet", 5, width=0.25, blocks=(1, 1))
    predictor = Predictor.__new__(Predictor)  # as a checkpoint would make it
    predictor.network = (LaneNetwork(network, lanes, (32, 96)) if lanes else network).eval()
    predictor.place = place("off", use_gpu=False)
    predictor.scenes = ScenesSettings(dataset="culane", root=".", crop_top="paper", height=32, width=96)
    found = predicted(predictor, np.zeros((590, 1640, 3), np.uint8))
    assert (found.size, found.cut) == ((590, 1640), 240)
    assert found.logits.shape == (5, 32, 96)
    assert found.whole().shape == (5, 350, 1640)
    if lanes:
        assert found.existence is not None
        assert found.existence.shape == (4,)
        assert ((found.existence > 0) & (found.existence < 1)).all()
    else:
        assert found.existence is None


def test_networks_of_other_classes_are_refused() -> None:
    twelve = _prediction(np.zeros((2, 2), np.uint8), 12)
    with pytest.raises(SettingError, match="a submission needs the 36 fine classes, found 12 classes"):
        apolloscape_ids(twelve)
    for read in (culane_lanes, lambda each: llamas_maps(each, hard=True)):
        with pytest.raises(SettingError, match="lanes need background and four classes, found 12"):
            read(twelve)


def test_resized_labels_are_those_of_one_argmax_over_all_classes() -> None:
    torch.manual_seed(0)
    logits = torch.randn(7, 9, 14).round(decimals=1)  # rounded, so that classes tie
    whole = torch.nn.functional.interpolate(logits[None], (40, 61), mode="bilinear", align_corners=False)[0]
    assert torch.equal(resized_labels(logits, (40, 61)), whole.argmax(dim=0).to(torch.uint8))
    assert torch.equal(resized_labels(logits, (9, 14)), logits.argmax(dim=0).to(torch.uint8))
