"""A user's own folder: what it may hold, and a one-line error for everything else."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intra_search.config.scenes import ScenesSettings
from intra_search.errors import SceneError, SettingError
from intra_search.scenes.folder import FolderScenes


def test_images_masks_and_groups_are_read(folder_settings: ScenesSettings) -> None:
    source = FolderScenes(folder_settings)
    assert [tuple(scene) for scene in source.scenes] == [(f"f{n}", f"video{n // 2}") for n in range(6)]
    assert [(row.name, row.category) for row in source.classes] == [
        ("road", "void"),
        ("left", "side"),
        ("right", "side"),
    ]
    assert source.swap == {1: 2, 2: 1}
    image, labels = source.load(1)
    assert image.shape == (24, 40, 3)
    wanted = np.zeros((24, 40))
    wanted[8:16, 4:12] = 1
    wanted[23, 39] = 255
    assert (labels == wanted).all()


def test_png_images_keep_their_pixels(folder_settings: ScenesSettings) -> None:
    wanted = np.random.default_rng(3).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    assert (FolderScenes(folder_settings).load(3)[0] == wanted).all()


def test_suffixes_may_be_in_capitals(folder_settings: ScenesSettings, folder_root: Path) -> None:
    (folder_root / "masks" / "f0.png").rename(folder_root / "masks" / "f0.PNG")
    (folder_root / "images" / "f0.jpg").rename(folder_root / "images" / "f0.JPG")
    assert FolderScenes(folder_settings).load(0)[0].shape == (24, 40, 3)


def test_without_groups_every_image_is_its_own(folder_settings: ScenesSettings, folder_root: Path) -> None:
    (folder_root / "groups.csv").unlink()
    assert [scene.group for scene in FolderScenes(folder_settings).scenes] == [f"f{n}" for n in range(6)]


def test_indices_with_gaps_and_colours(folder_settings: ScenesSettings, folder_root: Path) -> None:
    """Classes are numbered in the order of their indices, with a byte order mark and blanks as spreadsheets write."""
    text = "\ufeffindex, name,red,green,blue\n10,paint,255,0,0\n0,road,0,0,0\n\n"
    (folder_root / "classes.csv").write_text(text, encoding="utf-8")
    mask = np.zeros((24, 40), np.uint8)
    mask[0, 0] = 10
    Image.fromarray(mask).save(folder_root / "masks" / "f0.png")
    painted = np.zeros((24, 40, 3), np.uint8)
    painted[0, 1] = (255, 0, 0)
    Image.fromarray(painted).save(folder_root / "masks" / "f1.png")
    source = FolderScenes(folder_settings)
    assert [row.name for row in source.classes] == ["road", "paint"]
    assert source.classes[1].color == (255, 0, 0)
    assert source.swap is None
    assert source.load(0)[1][0, :2].tolist() == [1, 0]
    assert source.load(1)[1][0, :2].tolist() == [0, 1]


def test_classes_without_colours_get_different_ones(folder_settings: ScenesSettings, folder_root: Path) -> None:
    lines = ["index,name", *(f"{n},c{n}" for n in range(254))]
    (folder_root / "classes.csv").write_text("\n".join(lines))
    classes = FolderScenes(folder_settings).classes
    assert len({row.color for row in classes}) == 254
    assert classes[0].color == (0, 0, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index\n0\n", "no column 'name'"),
        ("", "no column 'index'"),
        ("index,name\n", "must list 1 to 254 classes, found 0"),
        ("index,name\nzero,road\n", r"classes\.csv:2: index must be a whole number in 0\.\.253, found 'zero'"),
        ("index,name\n255,road\n", r"0\.\.253, found '255'"),
        (f"index,name\n{'0' * 5000},road\n", r"0\.\.253, found '000"),
        ("index,name\n" + "0,road\n" * 1_000_000, "must list 1 to 254 classes, found more"),
        ("index,name\n-1,road\n", "found '-1'"),
        ("index,name\n0,road\n0,paint\n", r"classes\.csv:3: every index must stand once.*classes\.csv:2"),
        ("index,name\n0\n", r"classes\.csv:2: must have one cell per column, found 1 cells"),
        ("index,name\n0,road,more\n", "must have one cell per column"),
        ("index,name,red,green,blue\n0,road,0,0,300\n", r"a colour must be a whole number in 0\.\.255, found '300'"),
        ("index,name,red,green,blue\n0,road,0,0,0\n1,paint,,,\n", "1 colours for 2 classes"),
        ("index,name,red,green,blue\n0,road,0,0,0\n1,paint,0,0,0\n", "all colours must differ"),
        ("index,name,swap\n0,road,\n1,left,rihgt\n", "swap must name a class.*'rihgt'; known classes: road, left"),
        ("index,name,swap\n0,road,\n1,left,right\n2,right,\n", "left → right → right"),
        ("index,name,swap\n0,a,b\n1,b,c\n2,c,a\n", "a → b → c"),
        ("index,name\n0,a\n1,a\n", "names of classes must differ, found 'a'"),
    ],
)
def test_bad_class_tables(folder_settings: ScenesSettings, folder_root: Path, text: str, message: str) -> None:
    (folder_root / "classes.csv").write_text(text)
    with pytest.raises(SceneError, match=message) as caught:
        FolderScenes(folder_settings)
    assert "classes.csv" in str(caught.value)


def test_missing_and_undecodable_class_table(folder_settings: ScenesSettings, folder_root: Path) -> None:
    (folder_root / "classes.csv").write_bytes(b"index,name\n0,\xff\xfe\n")
    with pytest.raises(SceneError, match=r"classes\.csv: must be a readable csv file"):
        FolderScenes(folder_settings)
    (folder_root / "classes.csv").unlink()
    with pytest.raises(SceneError, match=r"classes\.csv: must be a readable csv file.*No such file"):
        FolderScenes(folder_settings)


def test_image_without_mask(folder_settings: ScenesSettings, folder_root: Path) -> None:
    (folder_root / "masks" / "f3.png").unlink()
    with pytest.raises(SceneError, match=r"f3\.png: every image must have its mask.*masks/f3\.png"):
        FolderScenes(folder_settings)


def test_image_without_group(folder_settings: ScenesSettings, folder_root: Path) -> None:
    (folder_root / "groups.csv").write_text("name,group\nf0,a\n")
    with pytest.raises(SceneError, match=r"groups\.csv: every image must have a group, found none for f1"):
        FolderScenes(folder_settings)


def test_image_in_two_groups(folder_settings: ScenesSettings, folder_root: Path) -> None:
    with (folder_root / "groups.csv").open("a") as file:
        file.write("f0,video2\n")
    with pytest.raises(SceneError, match=r"groups\.csv:8: .*found f0 in video0 and video2"):
        FolderScenes(folder_settings)


def test_two_images_of_one_name(folder_settings: ScenesSettings, folder_root: Path) -> None:
    Image.new("RGB", (40, 24)).save(folder_root / "images" / "f0.png")
    with pytest.raises(SceneError, match=r"names must differ before the suffix, found f0\.jpg as well"):
        FolderScenes(folder_settings)


@pytest.mark.parametrize("name", ["images", "masks"])
def test_missing_folders(folder_settings: ScenesSettings, folder_root: Path, name: str) -> None:
    (folder_root / name).rename(folder_root / "elsewhere")
    with pytest.raises(SceneError, match=rf"{name}: a folder data set must have it"):
        FolderScenes(folder_settings)


def test_no_images(folder_settings: ScenesSettings, folder_root: Path) -> None:
    for path in (folder_root / "images").iterdir():
        path.unlink()
    with pytest.raises(SceneError, match=r"must hold \.jpg or \.png images, found none"):
        FolderScenes(folder_settings)


def test_unknown_index(folder_settings: ScenesSettings, folder_root: Path) -> None:
    Image.fromarray(np.full((24, 40), 3, np.uint8)).save(folder_root / "masks" / "f0.png")
    with pytest.raises(SceneError, match=r"f0\.png: .*found id 3 \(960 pixels"):
        FolderScenes(folder_settings).load(0)


def test_mask_of_another_size(folder_settings: ScenesSettings, folder_root: Path) -> None:
    Image.fromarray(np.zeros((40, 24), np.uint8)).save(folder_root / "masks" / "f0.png")
    with pytest.raises(SceneError, match="found 24 x 40 for 40 x 24 of"):
        FolderScenes(folder_settings).load(0)


def test_a_folder_has_no_paper_crop(folder_settings: ScenesSettings) -> None:
    with pytest.raises(SettingError, match=r"scenes\.crop_top: 'paper' needs a data set with a protocol"):
        FolderScenes(folder_settings).paper_crop_top(100, 100)
