"""Tiny data sets in each layout, written as a user's would be."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from intra_search.config.scenes import ScenesSettings

Array = NDArray[np.uint8]


def save_palette(path: Path, indices: Array) -> None:
    """An index PNG with a palette whose colours say nothing about the index."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(indices)
    image.putpalette(bytes(value for index in range(256) for value in (255 - index, 7, index // 2)))
    image.save(path)


def noise(height: int, width: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def write_palette() -> Callable[[Path, Array], None]:
    return save_palette


@pytest.fixture
def folder_root(tmp_path: Path) -> Path:
    """Six images 40 x 24 in three groups; image i holds one block of class i % 3 and one ignored pixel."""
    root = tmp_path / "folder"
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    (root / "classes.csv").write_text("index,name,category,swap\n0,road,void,\n1,left,side,right\n2,right,side,left\n")
    rows = ["name,group"]
    for number in range(6):
        labels = np.zeros((24, 40), np.uint8)
        labels[8:16, 4:12] = number % 3
        labels[23, 39] = 255
        suffix = "png" if number % 2 else "jpg"
        Image.fromarray(noise(24, 40, number)).save(root / "images" / f"f{number}.{suffix}")
        Image.fromarray(labels).save(root / "masks" / f"f{number}.png")
        rows.append(f"f{number},video{number // 2}")
    (root / "groups.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture
def folder_settings(folder_root: Path) -> ScenesSettings:
    return ScenesSettings(dataset="folder", root=str(folder_root), height=32, width=48)


APOLLOSCAPE_IDS = (0, 200, 224, 225, 222, 250, 249, 255)


@pytest.fixture
def apolloscape_root(tmp_path: Path) -> Path:
    """Five frames 64 x 32 over three records: road02/Record001 with both cameras (spelled both ways), Record002, and
    road04/Record001. Row 0 of every label holds `APOLLOSCAPE_IDS`."""
    root = tmp_path / "apolloscape"
    frames = (
        ("road02", "Record001", "Camera 5", "Camera 5", "a_Camera_5"),
        ("road02", "Record001", "Camera_6", "Camera 6", "b_Camera_6"),
        ("road02", "Record002", "Camera_5", "Camera_5", "c_Camera_5"),
        ("road04", "Record001", "Camera 5", "Camera_5", "d_Camera_5"),
        ("road04", "Record001", "Camera 5", "Camera_5", "e_Camera_5"),
    )
    for number, (road, record, camera, label_camera, stem) in enumerate(frames):
        image = root / f"ColorImage_{road}" / "ColorImage" / record / camera / f"{stem}.jpg"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(32, 64, number)).save(image)
        ids = np.zeros((32, 64), np.uint8)
        ids[0, : len(APOLLOSCAPE_IDS)] = APOLLOSCAPE_IDS
        save_palette(root / f"Labels_{road}" / "Label" / record / label_camera / f"{stem}_bin.png", ids)
    return root


@pytest.fixture
def apolloscape_settings(apolloscape_root: Path) -> ScenesSettings:
    return ScenesSettings(dataset="apolloscape", root=str(apolloscape_root), height=32, width=64)


CULANE_FLAGS = {1: "1111", 2: "0110", 3: "0000", 4: "0111", 5: "1000"}


@pytest.fixture
def culane_root(tmp_path: Path) -> Path:
    """Frames 64 x 32 of four clips: 1, 2 (train), 3 (val), 4 to 6 (test; 5 without mask, 6 with a mask in the folder
    of test labels). A frame shows lane k + 1 as one pixel in column 10 k for every 1 of its flags."""
    root = tmp_path / "culane"
    clips = {1: "driver_1_30frame/a.MP4", 2: "driver_1_30frame/b.MP4", 3: "driver_2_30frame/c.MP4"}
    lists: dict[str, list[str]] = {"train_gt": [], "val_gt": [], "test": []}
    for number in range(1, 7):
        name = f"{clips.get(number, 'driver_3_30frame/d.MP4')}/{number:05d}"
        flags = CULANE_FLAGS.get(number, "1111")
        labels = np.zeros((32, 64), np.uint8)
        for lane, flag in enumerate(flags):
            labels[20, 10 * lane] = (lane + 1) * int(flag)
        folder = "laneseg_label_w16" if number < 5 else "laneseg_label_w16_test"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(32, 64, number)).save(root / f"{name}.jpg")
        if number != 5:
            Image.fromarray(labels).save(root / folder / f"{name}.png")
        (root / f"{name}.lines.txt").write_text("20 31 30 11\n")
        slash = "/" if number % 2 else ""
        gt = f"{slash}{name}.jpg {slash}laneseg_label_w16/{name}.png {' '.join(flags)}"
        key = "train_gt" if number < 3 else "val_gt" if number == 3 else "test"
        lists[key].append(f"{slash}{name}.jpg" if key == "test" else gt)
    (root / "list").mkdir()
    for key, lines in lists.items():
        (root / "list" / f"{key}.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def culane_settings(culane_root: Path) -> ScenesSettings:
    return ScenesSettings(dataset="culane", root=str(culane_root), height=32, width=64)


GOLDEN_LLAMAS = Path(__file__).parents[1] / "golden" / "llamas"


@pytest.fixture
def llamas_root(tmp_path: Path) -> Path:
    """The five golden labels with flat images: recordings a, b, c of train (c with two frames), d of valid."""
    root = tmp_path / "llamas"
    places = ("train/a", "train/b", "train/c", "train/c", "valid/d")
    for number, (place, label) in enumerate(zip(places, sorted(GOLDEN_LLAMAS.glob("*00.json")), strict=True)):
        for kind in ("labels", "color_images"):
            (root / kind / place).mkdir(parents=True, exist_ok=True)
        (root / "labels" / place / label.name).write_bytes(label.read_bytes())
        image = np.full((717, 1276, 3), 40 * number, np.uint8)
        image[:, :200] = 255
        Image.fromarray(image).save(root / "color_images" / place / f"{label.stem}_color_rect.png", compress_level=1)
    return root


@pytest.fixture
def llamas_settings(llamas_root: Path) -> ScenesSettings:
    return ScenesSettings(dataset="llamas", root=str(llamas_root), height=32, width=64)


def draw_scene(seed: int, index: int, height: int, width: int) -> tuple[Array, Array]:
    """Stands for the real drawing: noise of (seed, index), labels 0..35 and some 255."""
    random = np.random.default_rng((seed, index))
    image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    labels = random.integers(0, 37, (height, width), dtype=np.uint8)
    labels[labels == 36] = 255
    return image, labels


@pytest.fixture
def fake_drawing(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("intra_search.scenes.synthetic")
    module.draw_scene = draw_scene  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "intra_search.scenes.synthetic", module)
    return module
