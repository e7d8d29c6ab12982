"""The official layout, its two spellings of cameras, and what may be wrong in it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intra_search.config.scenes import ScenesSettings
from intra_search.errors import SceneError, SettingError
from intra_search.scenes.apolloscape import ApolloScapeScenes


def _label(root: Path, stem: str) -> Path:
    return next(root.glob(f"Labels_*/Label/*/*/{stem}_bin.png"))


def test_scenes_are_named_and_grouped_by_road_and_record(apolloscape_settings: ScenesSettings) -> None:
    source = ApolloScapeScenes(apolloscape_settings)
    assert [tuple(scene) for scene in source.scenes] == [
        ("road02/Record001/Camera_5/a_Camera_5", "road02/Record001"),
        ("road02/Record001/Camera_6/b_Camera_6", "road02/Record001"),
        ("road02/Record002/Camera_5/c_Camera_5", "road02/Record002"),
        ("road04/Record001/Camera_5/d_Camera_5", "road04/Record001"),
        ("road04/Record001/Camera_5/e_Camera_5", "road04/Record001"),
    ]


def test_palette_ids_become_train_ids(apolloscape_settings: ScenesSettings) -> None:
    image, labels = ApolloScapeScenes(apolloscape_settings).load(1)
    assert image.shape == (32, 64, 3)
    assert labels[0, :8].tolist() == [0, 1, 24, 25, 22, 35, 255, 255]
    assert labels[1:].max() == 0


def test_labels_in_grey_or_in_colour_read_the_same(
    apolloscape_settings: ScenesSettings, apolloscape_root: Path
) -> None:
    source = ApolloScapeScenes(apolloscape_settings)
    wanted = source.load(0)[1]
    path = _label(apolloscape_root, "a_Camera_5")
    indices = np.array(Image.open(path))
    Image.fromarray(indices).save(path)
    assert (source.load(0)[1] == wanted).all()
    colors = {0: (0, 0, 0), 200: (70, 130, 180), 224: (180, 165, 180), 225: (107, 142, 35), 222: (150, 100, 100)}
    colors |= {250: (102, 0, 204), 249: (0, 153, 153), 255: (255, 255, 255)}
    painted = np.array([[colors[value] for value in row] for row in indices.tolist()], np.uint8)
    Image.fromarray(painted).save(path)
    assert (source.load(0)[1] == wanted).all()


@pytest.mark.parametrize(
    ("height", "width", "cut"),
    [
        (2710, 3384, 1700),  # the authors' own numbers
        (1710, 3384, 700),  # released frames without the sky
        (427, 846, 427 - 252),  # the latter at a quarter; 846 * 1010 / 3384 = 252.5, to even
        (1010, 3384, 0),
        (505, 3384, 0),
    ],
)
def test_paper_crop_keeps_the_lowest_rows(
    apolloscape_settings: ScenesSettings, height: int, width: int, cut: int
) -> None:
    assert ApolloScapeScenes(apolloscape_settings).paper_crop_top(height, width) == cut


def test_image_without_mask_is_refused_on_opening(apolloscape_settings: ScenesSettings, apolloscape_root: Path) -> None:
    _label(apolloscape_root, "d_Camera_5").unlink()
    with pytest.raises(SceneError, match=r"d_Camera_5\.jpg: every image must have its mask.*d_Camera_5_bin\.png"):
        ApolloScapeScenes(apolloscape_settings)


def test_road_without_labels_is_refused_but_the_test_road_left_out(
    apolloscape_settings: ScenesSettings, apolloscape_root: Path
) -> None:
    road = apolloscape_root / "ColorImage_road05" / "ColorImage" / "Record001" / "Camera_5"
    road.mkdir(parents=True)
    Image.new("RGB", (64, 32)).save(road / "x_Camera_5.jpg")
    assert len(ApolloScapeScenes(apolloscape_settings).scenes) == 5
    (apolloscape_root / "ColorImage_road05").rename(apolloscape_root / "ColorImage_road03")
    with pytest.raises(SceneError, match="every image must have its mask"):
        ApolloScapeScenes(apolloscape_settings)


def test_unknown_id_names_file_and_id(apolloscape_settings: ScenesSettings, apolloscape_root: Path) -> None:
    path = _label(apolloscape_root, "a_Camera_5")
    Image.fromarray(np.full((32, 64), 199, np.uint8)).save(path)
    with pytest.raises(SceneError, match=r"a_Camera_5_bin\.png: .*found id 199 \(2048 pixels"):
        ApolloScapeScenes(apolloscape_settings).load(0)


def test_mask_of_another_size_is_refused(apolloscape_settings: ScenesSettings, apolloscape_root: Path) -> None:
    path = _label(apolloscape_root, "a_Camera_5")
    Image.fromarray(np.zeros((16, 64), np.uint8)).save(path)
    with pytest.raises(SceneError, match=r"as large as its image, found 64 x 16 for 64 x 32 of .*a_Camera_5\.jpg"):
        ApolloScapeScenes(apolloscape_settings).load(0)


def test_roots_without_frames_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="ApolloScape's layout, found none"):
        ApolloScapeScenes(ScenesSettings(dataset="apolloscape", root=str(tmp_path)))
    with pytest.raises(SettingError, match=r"scenes\.root: .*nowhere.*--set scenes\.root"):
        ApolloScapeScenes(ScenesSettings(dataset="apolloscape", root=str(tmp_path / "nowhere")))
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingError, match="which is no folder"):
        ApolloScapeScenes(ScenesSettings(dataset="apolloscape", root=str(tmp_path / "file")))


def test_stray_files_do_no_harm(apolloscape_settings: ScenesSettings, apolloscape_root: Path) -> None:
    (apolloscape_root / "ColorImage_road02" / "ColorImage" / ".DS_Store").write_text("")
    (apolloscape_root / "ColorImage_road02" / "ColorImage" / "Record001" / "Thumbs.db").write_text("")
    (apolloscape_root / "ColorImage_road02" / "ColorImage" / "Record001" / "Camera 5" / "._a.jpg").write_text("")
    assert len(ApolloScapeScenes(apolloscape_settings).scenes) == 5
