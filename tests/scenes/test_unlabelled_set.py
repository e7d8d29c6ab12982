"""Frames without labels: where they come from, what a view of one is, and what is refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from intra_search.config.scenes import ScenesSettings
from intra_search.errors import IntraSearchError, SceneError
from intra_search.scenes.scene_set import open_scenes
from intra_search.scenes.unlabelled_set import UnlabelledScenes, check_unlabelled, open_unlabelled
from tests.tiny_study import HEIGHT, WIDTH, tiny_settings, write_roads


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_roads(tmp_path / "roads")
    return tmp_path / "roads"


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """A plain folder: five images of different grey in two folders, and a text file."""
    folder = tmp_path / "frames"
    write_images(folder, ["b.png", "a.jpg", "night/c.png", "night/d.png", "night/e.png"])
    (folder / "readme.txt").write_text("no image")
    return folder


def write_images(folder: Path, names: list[str], size: tuple[int, int] = (2 * HEIGHT, 2 * WIDTH)) -> None:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((*size, 3), 20 * number + 20, np.uint8))


def settings_of(root: Path, *entries: object, **changes: object) -> ScenesSettings:
    return tiny_settings(root, scenes={"unlabelled": [str(entry) for entry in entries], **changes}).scenes


def opened(root: Path, *entries: object, **changes: object) -> UnlabelledScenes:
    found = open_unlabelled(settings_of(root, *entries, **changes))
    assert found is not None
    return found


def test_without_folders_there_are_none(root: Path) -> None:
    assert open_unlabelled(settings_of(root)) is None


def test_a_folder_is_searched_with_all_below_it_in_the_order_of_names(root: Path, frames: Path) -> None:
    found = opened(root, frames)
    assert list(found.names) == ["a.jpg", "b.png", "night/c.png", "night/d.png", "night/e.png"]
    image, labels = found.load(1)  # b.png, written first
    assert image.shape == (2 * HEIGHT, 2 * WIDTH, 3)
    assert (image == 20).all()
    assert not labels.any()


def test_entries_follow_each_other(root: Path, frames: Path) -> None:
    found = opened(root, "synthetic:3", frames)
    assert len(found) == 8
    assert (found.load(4)[0] == 20).all()


def test_a_view_says_where_it_shows_the_frame(root: Path, frames: Path) -> None:
    whole = opened(root, frames).view(1, 0, seed=0)
    assert tuple(whole.image.shape) == (3, HEIGHT, WIDTH)
    assert not whole.labels.any()
    smaller = opened(root, frames, augment={"scale": (0.5, 0.6)}).view(1, 1, seed=0)
    assert set(smaller.labels.unique().tolist()) == {0, 255}
    # What the zoom filled has another colour than the frame, which is evenly grey.
    inside = smaller.image[:, smaller.labels == 0]
    assert (inside == 20).float().mean() > 0.9


def test_views_are_drawn_like_those_of_labelled_scenes_but_with_other_numbers(root: Path) -> None:
    settings = settings_of(root, f"folder:{root}", augment={"colour": 0.4})
    train, frames = open_scenes(settings, "train"), open_unlabelled(settings)
    assert frames is not None
    assert len(frames) == len(train)
    own, other = train.view(0, 1, seed=3).image, frames.view(0, 1, seed=3).image
    assert not bool((own == other).all())
    assert bool((other == frames.view(0, 1, seed=3).image).all())


def test_the_train_split_of_a_data_set_is_taken_and_its_masks_are_not_read(root: Path, tmp_path: Path) -> None:
    write_roads(tmp_path / "others", count=16, seed=9)
    for mask in (tmp_path / "others" / "masks").iterdir():
        mask.write_bytes(b"damaged")
    settings = settings_of(root, f"folder:{tmp_path / 'others'}")
    found = open_unlabelled(settings)
    others = settings.model_copy(update={"root": str(tmp_path / "others"), "unlabelled": ()})
    assert found is not None
    assert found.names == open_scenes(others, "train").names
    assert not found.load(0)[1].any()


def test_drawn_frames_are_other_scenes_than_the_labelled_ones() -> None:
    settings = ScenesSettings(dataset="synthetic", num_train=4, num_val=2, height=32, width=64)
    settings = settings.model_copy(update={"unlabelled": ("synthetic:4",)})
    train, frames = open_scenes(settings, "train"), open_unlabelled(settings)
    assert frames is not None
    assert len(frames) == 4
    labelled = {train.load(index)[0].tobytes() for index in range(4)}
    assert not labelled & {frames.load(index)[0].tobytes() for index in range(4)}


def test_the_fingerprint_tells_frames_apart_and_not_where_they_lie(root: Path, frames: Path, tmp_path: Path) -> None:
    first = opened(root, frames).fingerprint
    frames.rename(tmp_path / "moved")
    assert opened(root, tmp_path / "moved").fingerprint == first
    write_images(tmp_path / "moved", ["another.png"])
    assert opened(root, tmp_path / "moved").fingerprint != first


def refusal(settings: ScenesSettings) -> str:
    with pytest.raises(IntraSearchError) as caught:
        check_unlabelled(settings, open_scenes(settings, "train"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_or_empty_folders_are_refused(root: Path, tmp_path: Path) -> None:
    found = refusal(settings_of(root, tmp_path / "none"))
    assert f"scenes.unlabelled: must name folders that this machine can read, found '{tmp_path / 'none'}'" in found
    (tmp_path / "empty").mkdir()
    found = refusal(settings_of(root, tmp_path / "empty"))
    assert f"scenes.unlabelled {tmp_path / 'empty'}: must hold images, found none" in found


def test_frames_of_another_aspect_ratio_are_refused(root: Path, frames: Path) -> None:
    write_images(frames, ["square.png"], size=(64, 64))
    found = refusal(settings_of(root, frames))
    assert f"{frames / 'square.png'}: must have the labelled frames' 2 columns per row" in found
    assert "64 x 64" in found


def test_another_size_of_the_same_aspect_ratio_is_welcome(root: Path, frames: Path) -> None:
    settings = settings_of(root, frames)
    check_unlabelled(settings, open_scenes(settings, "train"))


def test_frames_of_val_and_test_are_refused(root: Path) -> None:
    """What is trained on cannot tell how good a student is."""
    found = refusal(settings_of(root, root / "images"))
    assert "must not hold frames of val or test" in found


def test_a_damaged_frame_is_named(root: Path, frames: Path) -> None:
    (frames / "a.jpg").write_bytes(b"no image")
    with pytest.raises(SceneError, match=r"a\.jpg: must be a whole image"):
        opened(root, frames).load(0)
    assert "a.jpg: must be a whole image" in refusal(settings_of(root, frames))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unlabelled": ["synthetic:0"]}, "must name folders, dataset:folder or synthetic:NUMBER, found 'synthetic:0'"),
        ({"unlabelled": ["culane:"]}, "must name folders, dataset:folder or synthetic:NUMBER"),
        ({"unlabelled": ["/a", "/a"]}, "must name each source of frames once, found '/a'"),
        ({"pseudo_labels": 0.9}, "labels the frames of scenes.unlabelled, found 0.9 and no such frames"),
        ({"unlabelled": ["/a"], "unlabelled_share": 1.0}, "unlabelled_share"),
        ({"unlabelled": ["/a"], "pseudo_labels": 1.5}, "pseudo_labels"),
    ],
)
def test_settings_that_make_no_sense_are_refused(root: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(IntraSearchError) as caught:
        tiny_settings(root, scenes=changes)
    assert message in str(caught.value)
