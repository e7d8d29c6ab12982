"""Decoding: indices survive every way of storing them, and nothing damaged passes as whole."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from intra_search.errors import SceneError
from intra_search.scenes.images import read_image, read_mask, sizes_signature
from intra_search.scenes.labels import UNKNOWN, Table

COLORS = {(0, 0, 0): 0, (255, 0, 0): 1}
INDICES = np.array([[0, 1, 2], [2, 255, 0]], np.uint8)


@pytest.fixture
def table() -> Table:
    table = np.full(256, UNKNOWN, np.uint8)
    table[[0, 1, 2, 255]] = [0, 1, 2, 255]
    return table


def test_palette_index_is_the_label_whatever_its_colour(
    tmp_path: Path, write_palette: Callable[[Path, NDArray[np.uint8]], None], table: Table
) -> None:
    write_palette(tmp_path / "p.png", INDICES)
    with Image.open(tmp_path / "p.png") as image:
        assert image.mode == "P"
    assert read_mask(tmp_path / "p.png", table, COLORS).tolist() == INDICES.tolist()


def test_grey_value_is_the_label(tmp_path: Path, table: Table) -> None:
    Image.fromarray(INDICES).save(tmp_path / "l.png")
    assert read_mask(tmp_path / "l.png", table, {}).tolist() == INDICES.tolist()


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_palettes_of_few_bits_hold_indices_too(tmp_path: Path, table: Table, bits: int) -> None:
    indices = np.minimum(INDICES, 1 if bits == 1 else 2)
    image = Image.fromarray(indices)
    image.putpalette(bytes(range(0, 48)))
    image.save(tmp_path / "p.png", bits=bits)
    assert read_mask(tmp_path / "p.png", table, {}).tolist() == indices.tolist()


def test_two_level_mask_holds_0_and_1(tmp_path: Path, table: Table) -> None:
    Image.fromarray(np.array([[False, True]])).save(tmp_path / "b.png")
    assert read_mask(tmp_path / "b.png", table, {}).tolist() == [[0, 1]]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colour_mask_goes_through_the_colours(tmp_path: Path, table: Table, mode: str) -> None:
    pixels = np.array([[[0, 0, 0], [255, 0, 0]]], np.uint8)
    Image.fromarray(pixels).convert(mode).save(tmp_path / "c.png")
    assert read_mask(tmp_path / "c.png", table, COLORS).tolist() == [[0, 1]]


def test_colour_mask_without_colours_is_refused(tmp_path: Path, table: Table) -> None:
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "c.png")
    with pytest.raises(SceneError, match=r"c\.png: a mask must be an 8-bit PNG of class indices, found mode RGB"):
        read_mask(tmp_path / "c.png", table, {})


def test_16_bit_files_are_refused(tmp_path: Path, table: Table) -> None:
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(tmp_path / "w.png")
    with pytest.raises(SceneError, match="a mask must be an 8-bit PNG"):
        read_mask(tmp_path / "w.png", table, COLORS)
    with pytest.raises(SceneError, match="8 bits per channel, found mode I;16"):
        read_image(tmp_path / "w.png")


def test_unknown_index_is_named_with_its_file(tmp_path: Path, table: Table) -> None:
    Image.fromarray(np.array([[0, 77, 77, 78]], np.uint8)).save(tmp_path / "u.png")
    with pytest.raises(SceneError, match=r"u\.png: .*found id 77 \(3 pixels of unknown classes\)"):
        read_mask(tmp_path / "u.png", table, {})


def test_unknown_colour_is_named(tmp_path: Path, table: Table) -> None:
    Image.fromarray(np.full((1, 2, 3), 9, np.uint8)).save(tmp_path / "u.png")
    with pytest.raises(SceneError, match=r"colour \(9, 9, 9\)"):
        read_mask(tmp_path / "u.png", table, COLORS)


def test_index_254_is_unknown_too(tmp_path: Path, table: Table) -> None:
    Image.fromarray(np.array([[254]], np.uint8)).save(tmp_path / "u.png")
    with pytest.raises(SceneError, match="found id 254"):
        read_mask(tmp_path / "u.png", table, {})


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "CMYK"])
def test_images_of_any_8_bit_mode_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("i.jpg" if mode == "CMYK" else "i.png")
    image = Image.new("RGB", (4, 3), (10, 10, 10))
    (image.quantize() if mode == "P" else image.convert(mode)).save(path)
    pixels = read_image(path)
    assert pixels.shape == (3, 4, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - 10).max() <= 3


def test_channels_are_red_green_blue(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (200, 100, 50)).save(tmp_path / "i.png")
    assert read_image(tmp_path / "i.png").tolist() == [[[200, 100, 50]]]


def test_images_are_not_turned_by_their_exif_tag(tmp_path: Path) -> None:
    """Masks have no such tag, so a turned image would no longer match its mask."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(tmp_path / "e.jpg", exif=exif)
    assert read_image(tmp_path / "e.jpg").shape == (4, 8, 3)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.95])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str, keep: float) -> None:
    path = tmp_path / f"t.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(SceneError, match=rf"t\.{suffix}: must be a whole image"):
        read_image(path)


def test_garbage_in_a_png_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "g.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    content[600:700] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(SceneError, match="must be a whole image"):
        read_image(path)


def test_text_and_folders_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("no image")
    (tmp_path / "d.png").mkdir()
    for name in ("x.png", "d.png"):
        with pytest.raises(SceneError, match=rf"{name}: must be a whole image"):
            read_image(tmp_path / name)
    with pytest.raises(SceneError, match=r"none\.png: must exist"):
        read_image(tmp_path / "none.png")


def test_errors_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("no image")
    with pytest.raises(SceneError) as caught:
        read_image(tmp_path / "x.png")
    assert "\n" not in str(caught.value)


def test_signature_follows_sizes_and_order(tmp_path: Path) -> None:
    for name, content in (("a", "1"), ("b", "22"), ("c", "3")):
        (tmp_path / name).write_text(content)
    a, b, c = (tmp_path / name for name in "abc")
    assert sizes_signature([a, b]) == sizes_signature([c, b])
    assert sizes_signature([a, b]) != sizes_signature([b, a])
    with pytest.raises(SceneError, match="d: must exist"):
        sizes_signature([a, tmp_path / "d"])
