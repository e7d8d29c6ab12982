"""What a reader may do with a malformed input: raise one of our errors, in time, without leaving its folder."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from intra_search.errors import IntraSearchError

MOST_SECONDS = 5.0
"""Processor time of one case. All inputs are small."""
LONGEST_MESSAGE = 2000
_STARTING = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.startfile", "os.fork", "socket.connect")
_CHANGING = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_allowed: list[Path] = []
_broken: list[str] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: it sees what Python does on its own behalf and on that of most libraries. It cannot be removed, so
    it looks away outside `guarded`."""
    if not _allowed:
        return
    if event in _STARTING:
        _broken.append(f"{event}{arguments[:2]}")
    elif event == "open" and isinstance(arguments[0], str | bytes) and _writes(arguments):
        _check_inside(event, arguments[0])
    elif event in _CHANGING:
        _check_inside(event, arguments[0])


def _writes(arguments: tuple[Any, ...]) -> bool:
    _, mode, flags = arguments
    return bool(set(mode) & set("wax+")) if isinstance(mode, str) else bool((flags or 0) & _WRITING)


def _check_inside(event: str, path: Any) -> None:
    if isinstance(path, int):  # a file descriptor
        return
    place = Path(os.fsdecode(path)).absolute()
    if str(place) != os.devnull and not any(place.is_relative_to(folder) for folder in _allowed):
        _broken.append(f"{event} {place}")


sys.addaudithook(_watch)


@contextmanager
def guarded(*folders: Path) -> Iterator[None]:
    """Fails if the block raises anything but an error of ours of one line, takes long, starts a program, connects to
    anything, or writes outside of the folders."""
    _broken.clear()
    _allowed.extend(folder.absolute() for folder in folders)
    started = time.process_time()
    try:
        yield
    except IntraSearchError as error:
        text = str(error)
        assert "\n" not in text
        assert text.isprintable(), ascii(text)
        assert len(text) <= LONGEST_MESSAGE, len(text)
    finally:
        _allowed.clear()
    seconds = time.process_time() - started
    assert not _broken, "; ".join(_broken)
    assert seconds < MOST_SECONDS, f"{seconds:.1f} s"
