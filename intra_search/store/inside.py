"""Paths that stay inside a folder. A study or a checkpoint may come from somebody else, and so may the paths in it."""

import os
from typing import Annotated

from pydantic import AfterValidator


def is_inside(path: str) -> bool:
    """Whether a path is relative and names nothing above the folder that it is relative to."""
    return not path.startswith("/") and ".." not in path.split("/") and "\0" not in path


def is_name(name: str) -> bool:
    """Whether this can name a file directly in a folder."""
    return is_inside(name) and "/" not in name and name not in ("", ".")


def link_on_the_way(root: str, path: str) -> str | None:
    """The first symbolic link below the root on the way to a path, or at its end. The root itself may be one."""
    at = root
    for part in path.split("/"):
        at = f"{at}/{part}"
        if part and os.path.islink(at):
            return at
    return None


def _checked(path: str) -> str:
    if not is_inside(path):
        raise ValueError(f"must be a relative path without '..', found {path!r}")
    return path


InsidePath = Annotated[str, AfterValidator(_checked)]
"""A path in a record. It is relative to the study and stays inside."""
