"""CULane's text files: lanes of one frame (`.lines.txt`) and lists of frames."""

import math
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from intra_search.errors import SceneError
from intra_search.scenes.files import read_text

Lane = npt.NDArray[np.float64]
"""Points (N, 2) of one lane: x, y in pixels of the whole image, from the bottom up; x may lie outside the image."""
FARTHEST = 1e6
"""Pixels from the frame's corner; no point beyond can be meant, and 32-bit numbers must hold all of the curve."""
MAX_LANES = 100
"""Of one frame; each is compared with each."""
LANES_SUFFIX = ".lines.txt"
_LONGEST_NAME = 240  # bytes; file systems allow 255, and a suffix is added
_LONGEST_PATH = 2000  # bytes; the system allows 4096 with the root before it
_LIST_FIELDS = (1, 2, 6)  # image; image and label; image, label and four existence flags


def lanes_name(image_name: str) -> str:
    """Name of the lanes file beside an image: `a/00000.jpg` gives `a/00000.lines.txt`."""
    return str(PurePosixPath(image_name).with_suffix(LANES_SUFFIX))


def read_lanes(path: Path) -> list[Lane]:
    """Lanes of one frame, one per line as "x y x y ...".

    An empty line is a lane without points, which the official tool counts, too. Raises SceneError, naming the line, for
    an odd number of words, a word that is no number, or a number that is not finite or beyond `FARTHEST`,
    and for more than `MAX_LANES` lanes.
    """
    lines = read_text(path, "must be a readable text file", "check the file").splitlines()
    if len(lines) > MAX_LANES:
        raise SceneError(str(path), f"must hold at most {MAX_LANES} lanes", len(lines), "check what wrote it")
    return [_parse_lane(line, f"{path}:{number}") for number, line in enumerate(lines, start=1)]


def _parse_lane(line: str, where: str) -> Lane:
    words = line.split()
    if len(words) % 2:
        raise SceneError(where, "must hold pairs of x and y", f"{len(words)} numbers", "complete or drop the last pair")
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise SceneError(
            where, "must hold numbers only", str(error).split(": ")[-1][:60], "mend or drop the line"
        ) from error
    if not all(map(math.isfinite, numbers)):
        strange = next(word for word, number in zip(words, numbers, strict=True) if not math.isfinite(number))
        raise SceneError(where, "must hold finite numbers", strange, "drop the point")
    farthest = max(numbers, key=abs, default=0.0)
    if abs(farthest) > FARTHEST:
        raise SceneError(where, f"points must lie within {FARTHEST:,.0f} pixels", f"{farthest:g}", "drop the point")
    return np.array(numbers, np.float64).reshape(-1, 2)


def write_lanes(path: Path, lanes: Iterable[Lane]) -> None:
    """Writes lanes as CULane stores them; a frame without lanes gives an empty file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (" ".join(f"{x:.3f} {y:g}" for x, y in lane.tolist()) for lane in lanes)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


class ListedImage(NamedTuple):
    """One line of a list of frames; paths are relative to the data set's root."""

    image: str
    label: str | None
    lanes: str | None
    """Four existence flags such as `0111`, far left to far right."""
    where: str
    """File and line."""


def read_frame_list(path: Path, skipped: list[str] | None = None) -> list[str]:
    """Image names of a list file, in its order, with the rules and errors of `read_listed_images`."""
    return [listed.image for listed in read_listed_images(path, skipped)]


def read_listed_images(path: Path, skipped: list[str] | None = None) -> list[ListedImage]:
    """Lines of a list file, in its order, relative to the data set's root (a leading slash is dropped).

    A line holds an image alone, or with its label, or with its label and four existence flags. Empty lines are skipped.
    Raises SceneError for another number of fields, a path outside the root or a flag that is neither 0 nor 1 (with
    `skipped`, such lines are left out and the error is added there), and for a list without frames.
    """
    lines = read_text(path, "must be a readable list of frames", "check the path").splitlines()
    images = []
    for number, line in enumerate(lines, start=1):
        try:
            images += [_listed_image(line.split(), f"{path}:{number}")] if line.strip() else []
        except SceneError as error:
            if skipped is None:
                raise
            skipped.append(str(error))
    if not images:
        raise SceneError(str(path), "must name at least one frame", "none", "check the list")
    return images


def _listed_image(fields: list[str], where: str) -> ListedImage:
    if len(fields) not in _LIST_FIELDS:
        raise SceneError(where, "must hold 1, 2 or 6 fields", len(fields), "write `image [label [e1 e2 e3 e4]]`")
    names = [_inside(field, where) for field in fields[:2]]
    strange = [flag for flag in fields[2:] if flag not in ("0", "1")]
    if strange:
        raise SceneError(where, "existence flags must be 0 or 1", repr(strange[0][:60]), "mend the list")
    return ListedImage(names[0], names[1] if len(names) > 1 else None, "".join(fields[2:]) or None, where)


def _inside(field: str, where: str) -> str:
    name = field.lstrip("/")
    parts = PurePosixPath(name).parts
    is_long = len(name.encode()) > _LONGEST_PATH or any(len(part.encode()) > _LONGEST_NAME for part in parts)
    if not parts or ".." in parts or "\0" in name or is_long:
        found = repr(field[:60])
        raise SceneError(where, "must name an image inside the data set's folder", found, "mend the list")
    return name
