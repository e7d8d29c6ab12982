"""LLAMAS' folders: which recordings form which split, both tasks, and what a partial download leaves."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intra_search.config.scenes import ScenesSettings
from intra_search.errors import SceneError, SettingError
from intra_search.scenes.llamas import CLASSES, LlamasScenes
from intra_search.scenes.llamas_labels import CLASSES as LABEL_NAMES
from intra_search.scenes.llamas_labels import SIZE
from intra_search.scenes.scene_set import open_scenes

GOLDEN = Path(__file__).parents[1] / "golden" / "llamas"
STAMP = "14192110{:02d}_0744236000"


def _with(settings: ScenesSettings, **changes: object) -> ScenesSettings:
    return ScenesSettings.model_validate(settings.model_dump() | changes)


def _groups(source: LlamasScenes) -> dict[str, set[str]]:
    assert source.splits is not None
    return {str(split): {source.scenes[index].group for index in found} for split, found in source.splits.items()}


def test_valid_is_test_and_val_is_whole_recordings_of_train(llamas_settings: ScenesSettings) -> None:
    source = LlamasScenes(_with(llamas_settings, val_groups=("c",)))
    assert source.splits == {"train": [0, 1], "val": [2, 3], "test": [4]}
    assert source.scenes[2] == (f"c/{STAMP.format(2)}", "c")
    drawn = _groups(LlamasScenes(llamas_settings))
    assert drawn["test"] == {"d"}
    assert drawn["train"] | drawn["val"] == {"a", "b", "c"}
    assert len(drawn["train"]) + len(drawn["val"]) == 3


def test_own_test_labels_make_the_split_the_official_one(llamas_settings: ScenesSettings, llamas_root: Path) -> None:
    for kind in ("labels", "color_images"):
        (llamas_root / kind / "test").mkdir()
        (llamas_root / kind / "train" / "a").rename(llamas_root / kind / "test" / "a")
    found = _groups(LlamasScenes(llamas_settings))
    assert found == {"train": {"b", "c"}, "val": {"d"}, "test": {"a"}}
    with pytest.raises(SettingError, match=r"scenes\.val_groups: has no meaning beside labels/test"):
        LlamasScenes(_with(llamas_settings, val_groups=("b",)))


def test_a_recording_of_valid_is_not_trained_on(
    llamas_settings: ScenesSettings, llamas_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for kind in ("labels", "color_images"):
        (llamas_root / kind / "train" / "b").rename(llamas_root / kind / "train" / "d")
    found = _groups(LlamasScenes(llamas_settings))
    assert found["test"] == {"d"}
    assert found["train"] | found["val"] == {"a", "c"}
    assert "Leaving out of labels/train what valid or test hold too: d" in caplog.text


@pytest.mark.parametrize(("classes", "suffix"), [("fine", "label"), ("category", "binary")])
def test_labels_are_the_official_masks(llamas_settings: ScenesSettings, classes: str, suffix: str) -> None:
    source = LlamasScenes(_with(llamas_settings, classes=classes))
    for index in range(5):
        golden = np.array(Image.open(GOLDEN / f"{STAMP.format(index)}.{suffix}.png"))
        np.testing.assert_array_equal(source.load(index)[1], golden)
    assert len(source.classes) == {"fine": 5, "category": 2}[classes]
    assert source.existence(0) is None


def test_class_names_are_those_of_the_label_files() -> None:
    assert tuple(row.name for row in CLASSES) == LABEL_NAMES


@pytest.mark.parametrize("classes", ["fine", "category"])
def test_a_flip_mirrors_and_swaps_sides(llamas_settings: ScenesSettings, classes: str) -> None:
    augment = {"flip": True}
    settings = _with(llamas_settings, classes=classes, augment=augment, height=720, width=1280)
    scenes = open_scenes(settings, "train")
    base = scenes.evaluation(0).labels.numpy()
    swap = np.array([0, 4, 3, 2, 1] if classes == "fine" else [0, 1])
    mirrored = swap[base[:, ::-1]]
    views = [scenes.view(0, view, 0).labels.numpy() for view in range(6)]
    assert all(np.array_equal(view, base) or np.array_equal(view, mirrored) for view in views)
    assert any(np.array_equal(view, mirrored) for view in views)


def test_grey_images_are_read_as_well(llamas_settings: ScenesSettings, llamas_root: Path) -> None:
    (llamas_root / "color_images").rename(llamas_root / "grayscale_images")
    for path in llamas_root.glob("grayscale_images/*/*/*.png"):
        path.rename(path.with_name(path.name.replace("_color_rect", "_gray_rect")))
    image, labels = LlamasScenes(llamas_settings).load(0)
    assert image.shape == (*labels.shape, 3) == (SIZE[1], SIZE[0], 3)


def test_the_papers_crop() -> None:
    assert LlamasScenes.paper_crop_top(717, 1276) == 333


def test_what_a_partial_download_lacks_is_left_out_and_told(
    llamas_settings: ScenesSettings, llamas_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in (llamas_root / "color_images/train/c").iterdir():
        path.unlink()
    (llamas_root / "color_images/train/a/1_color_rect.png").touch()
    assert len(LlamasScenes(llamas_settings).scenes) == 3
    told = "Leaving out frames whose files are missing: color_images/train/c (2 files), labels/train/a (1 files)"
    assert told in caplog.text


def test_an_image_lost_from_a_recording_is_refused(llamas_settings: ScenesSettings, llamas_root: Path) -> None:
    image = next((llamas_root / "color_images/train/c").iterdir())
    image.unlink()
    label = image.name.replace("_color_rect.png", ".json")
    with pytest.raises(SceneError, match=rf"train/c/{label}: every label must have its image, found no {image}"):
        LlamasScenes(llamas_settings)


def _no_images(root: Path) -> None:
    (root / "color_images").rename(root / "pictures")


def _no_labels(root: Path) -> None:
    (root / "labels").rename(root / "notes")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_no_images, "must hold color_images or grayscale_images, found neither"),
        (_no_labels, "labels: must hold labels with images, found none"),
    ],
)
def test_not_llamas(llamas_settings: ScenesSettings, llamas_root: Path, harm: object, message: str) -> None:
    assert callable(harm)
    harm(llamas_root)
    with pytest.raises(SceneError, match=message):
        LlamasScenes(llamas_settings)


def test_a_marker_in_the_cameras_plane_names_its_file(llamas_settings: ScenesSettings, llamas_root: Path) -> None:
    path = next((llamas_root / "labels/train/a").iterdir())
    path.write_text(re.sub(r'"z": "?[0-9.]+"?', '"z": 0', path.read_text()))
    with pytest.raises(SceneError, match=rf"{path.name}: a marker must not lie in the camera's plane"):
        LlamasScenes(llamas_settings).load(0)


def test_another_size_of_image_is_refused(llamas_settings: ScenesSettings, llamas_root: Path) -> None:
    path = next((llamas_root / "color_images/train/a").iterdir())
    Image.new("RGB", (640, 360)).save(path)
    with pytest.raises(SceneError, match=r"json: a mask must be as large as its image, found 1276 x 717 for 640 x 360"):
        LlamasScenes(llamas_settings).load(0)


def test_test_groups_have_no_meaning(llamas_settings: ScenesSettings) -> None:
    with pytest.raises(SettingError, match=r"scenes\.test_groups: has no meaning for LLAMAS, found a"):
        LlamasScenes(_with(llamas_settings, test_groups=("a",)))


def test_unknown_val_groups_are_refused(llamas_settings: ScenesSettings) -> None:
    with pytest.raises(SceneError, match=r"scenes\.val_groups: must name groups .* found 'd'"):
        LlamasScenes(_with(llamas_settings, val_groups=("d",)))
