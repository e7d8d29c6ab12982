"""Where this machine keeps files that can be made again. `$INTRA_SEARCH_CACHE` names one folder for all of them.

Without it there are two places. Indexes of data sets are small and slow to make, so they go to the user's cache folder,
which lasts. Decoded scenes and copies of knowledge are large and should be on this machine's own disk, so they go to
the temporary folder: the user's own folder is often on a network.
"""

import os
import tempfile
from pathlib import Path


def lasting_folder() -> Path:
    """For small files: `$XDG_CACHE_HOME/intra-search`, else `~/.cache/intra-search`."""
    return _named() or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "intra-search"


def local_folder() -> Path:
    """For large files: `intra-search-<user id>` in the temporary folder."""
    return _named() or Path(tempfile.gettempdir()) / f"intra-search-{os.getuid()}"


def _named() -> Path | None:
    name = os.environ.get("INTRA_SEARCH_CACHE")
    return Path(name).expanduser() if name else None
