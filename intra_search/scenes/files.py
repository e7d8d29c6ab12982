"""What files and folders of data sets may be: looked at before they are opened, so that none hangs, loops or breaks a
hash with its name."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from intra_search.errors import SceneError

_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}


def check_regular(path: Path) -> None:
    """Raises `OSError` for what is no regular file, after links are followed. Nothing is opened: a pipe would be waited
    for, and a device may act."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise OSError(f"{_KINDS.get(stat.S_IFMT(mode), 'a device')}, not a file")


def read_text(path: Path, rule: str, remedy: str) -> str:
    """The text of a UTF-8 file. Raises `SceneError` with this rule and remedy when it cannot be read."""
    try:
        check_regular(path)
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SceneError(str(path), rule, error, remedy) from None


def check_names(where: Path, names: Iterable[str]) -> None:
    """Raises `SceneError` for the first name that is not UTF-8: it could be neither hashed, stored nor printed."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise SceneError(str(where), "names must be UTF-8", ascii(name), "rename the file or folder") from None


def files_below(root: Path, pattern: str) -> dict[str, Path]:
    """Files at any depth below a folder whose names match, by their paths relative to it, sorted. Raises `SceneError`
    for a name that is not UTF-8."""
    found = {str(path.relative_to(root)): path for path in sorted(root.rglob(pattern))}
    check_names(root, found)
    return found
