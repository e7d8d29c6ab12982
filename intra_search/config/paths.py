"""Paths as a user writes them."""

from pathlib import Path

from intra_search.errors import SettingError


def absolute_path(path: str) -> str:
    """The path from the root on, `~` replaced."""
    try:
        return str(Path(path).expanduser().absolute())
    except RuntimeError:
        found, remedy = Path(path).parts[0], "write the whole path, or set HOME"
        raise SettingError(path, "must begin with a home folder that is known", found, remedy) from None
    except OSError as error:
        rule, remedy = "needs the folder that the command is run in", "change to one that exists"
        raise SettingError(path, rule, error.strerror, remedy) from None
