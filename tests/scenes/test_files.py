"""What hangs, loops or cannot be named is one line, in every data set's listing and in text files."""

import os
import shutil
from pathlib import Path

import pytest

from intra_search.config.scenes import ScenesSettings
from intra_search.errors import SceneError, SettingError
from intra_search.scenes.files import files_below, read_text
from intra_search.scenes.scene_set import open_scenes
from intra_search.scenes.unlabelled_set import open_unlabelled

FOLDERS = {
    "folder": "images",
    "apolloscape": "ColorImage_road02/ColorImage",
    "culane": "driver_1_30frame/a.MP4",
    "llamas": "color_images/train/c",
}
"""A folder that each data set lists."""


@pytest.fixture(params=FOLDERS)
def settings(request: pytest.FixtureRequest) -> ScenesSettings:
    found: ScenesSettings = request.getfixturevalue(f"{request.param}_settings")
    return found


@pytest.fixture
def listed(settings: ScenesSettings) -> Path:
    return Path(str(settings.root)) / FOLDERS[settings.dataset]


def refused(settings: ScenesSettings) -> str:
    with pytest.raises((SceneError, SettingError)) as caught:
        open_scenes(settings, "train")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_where_a_folder_should_be(settings: ScenesSettings, listed: Path) -> None:
    shutil.rmtree(listed)
    listed.write_text("a file")
    assert f"{listed}: folders and links must be readable, found Not a directory" in refused(settings)


def test_a_file_for_a_root(settings: ScenesSettings) -> None:
    shutil.rmtree(str(settings.root))
    Path(str(settings.root)).write_text("a file")
    assert "which is no folder" in refused(settings)


def test_a_loop_of_links(settings: ScenesSettings, listed: Path) -> None:
    (listed / "loop.jpg").symlink_to("loop.jpg")
    assert "loop.jpg: folders and links must be readable, found Too many levels" in refused(settings)


def test_names_that_are_not_utf_8(settings: ScenesSettings, listed: Path) -> None:
    for path in [*listed.rglob("*.jpg"), *listed.rglob("*.png")][:1]:
        path.rename(path.with_name(os.fsdecode(b"\xff") + path.name))
    assert r"names must be UTF-8, found '\udcff" in refused(settings)


def test_a_folder_of_frames_is_listed_by_the_same_rules(tmp_path: Path, folder_settings: ScenesSettings) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    settings = folder_settings.model_copy(update={"unlabelled": (str(frames),)})
    (frames / os.fsdecode(b"\xff.jpg")).touch()
    with pytest.raises(SceneError, match=r"names must be UTF-8, found '\\udcff\.jpg'"):
        open_unlabelled(settings)
    (frames / "loop").symlink_to("loop")
    with pytest.raises(SceneError, match="loop: folders and links must be readable"):
        open_unlabelled(settings)


def test_predictions_and_labels_are_listed_by_the_same_rules(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.png").touch()
    assert files_below(tmp_path, "*.png") == {"a/b.png": tmp_path / "a" / "b.png"}
    (tmp_path / "a" / os.fsdecode(b"\xe9.png")).touch()
    with pytest.raises(SceneError, match="names must be UTF-8"):
        files_below(tmp_path, "*.png")


def test_a_pipe_is_no_text(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SceneError, match="pipe: must be a list, found a named pipe, not a file; mend it"):
        read_text(tmp_path / "pipe", "must be a list", "mend it")
