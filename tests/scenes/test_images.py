"""Decoding: indices survive every way of storing them, and nothing damaged passes as whole."""

import os
import socket
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from intra_search.errors import SceneError
from intra_search.scenes.images import MAX_PIXELS, image_size, read_image, read_mask, sizes_signature
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


def test_no_format_but_png_and_jpeg_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostScript would be handed to another program."""
    (tmp_path / "bin").mkdir()
    program, traces = tmp_path / "bin" / "gs", tmp_path / "started"
    program.write_text(f"#!/bin/sh\ntouch {traces}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    (tmp_path / "p.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")
    Image.new("RGB", (4, 4)).save(tmp_path / "g.png", format="GIF")
    for name in ("p.png", "g.png"):
        with pytest.raises(SceneError, match="must be a whole image, found cannot identify"):
            read_image(tmp_path / name)
    assert not traces.exists()


def test_pixels_are_limited_before_they_are_decoded(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "b.png")
    whole = (tmp_path / "b.png").read_bytes()
    for width in (MAX_PIXELS // 100 + 1, 10**6, 10**9):
        head = b"IHDR" + width.to_bytes(4) + (100).to_bytes(4) + whole[24:29]
        sum32 = zlib.crc32(head).to_bytes(4)
        (tmp_path / "b.png").write_bytes(whole[:12] + head + sum32 + whole[33:])
        with pytest.raises(SceneError, match=r"b\.png: must have at most 80,000,000 pixels"):
            image_size(tmp_path / "b.png")


@pytest.mark.parametrize("kind", [ZeroDivisionError, NotImplementedError, RuntimeError, KeyError, AttributeError])
def test_whatever_a_decoder_raises_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def broken(image: PngImagePlugin.PngImageFile) -> None:
        raise kind

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load_prepare", broken)
    Image.new("RGB", (4, 4)).save(tmp_path / "z.png")
    with pytest.raises(SceneError, match=rf"z\.png: must be a whole image, found {kind.__name__}"):
        read_image(tmp_path / "z.png")


def test_damaged_metadata_names_its_file(tmp_path: Path) -> None:
    """It says that its four resolutions stand behind the end of the file."""
    tiff = b"II*\0\x08\0\0\0" + b"\x01\0" + b"\x1a\x01\x05\0\x04\0\0\0\x00\x10\0\0" + bytes(4)
    Image.new("RGB", (4, 4)).save(tmp_path / "m.jpg", exif=b"Exif\0\0" + tiff)
    content = (tmp_path / "m.jpg").read_bytes()
    (tmp_path / "m.jpg").write_bytes(content.replace(content[2:20], b"", 1))  # without JFIF, Pillow looks into EXIF
    with pytest.raises(SceneError, match=r"m\.jpg: must have undamaged metadata.*save it anew without metadata"):
        read_image(tmp_path / "m.jpg")


def test_what_is_no_file_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    os.mkfifo("pipe.png")
    (tmp_path / "link.png").symlink_to("pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "loop.png").symlink_to("loop.png")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.png")
        for name, found in (
            ("pipe", "a named pipe"),
            ("link", "a named pipe"),
            ("device", "a device"),
            ("socket", "a socket"),
            ("loop", "Too many levels"),
        ):
            with pytest.raises(SceneError, match=rf"{name}\.png: must be a whole image, found .*{found}"):
                read_image(tmp_path / f"{name}.png")


def test_a_loop_of_links_has_no_size(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    with pytest.raises(SceneError, match="a: must be readable, found Too many levels"):
        sizes_signature([tmp_path / "a"])
