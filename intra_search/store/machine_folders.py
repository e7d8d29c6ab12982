"""Where this machine keeps files that can be made again. `$INTRA_SEARCH_CACHE` names one folder for all of them.

Without it there are two places. Indexes of data sets are small and slow to make, so they go to the user's cache folder,
which lasts. Decoded scenes and copies of knowledge are large and should be on this machine's own disk, so they go to
the temporary folder: the user's own folder is often on a network.
"""

import os
import tempfile
from pathlib import Path

from intra_search.config.paths import absolute_path


def lasting_folder() -> Path:
    """For small files: `$XDG_CACHE_HOME/intra-search`, else `~/.cache/intra-search`; where no home is known, as in a
    container whose user has no name, `local_folder`."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return _named() or (local_folder() if cache.startswith("~") else Path(cache) / "intra-search")


def local_folder() -> Path:
    """For large files: `intra-search-<user id>` in the temporary folder."""
    return _named() or Path(tempfile.gettempdir()) / f"intra-search-{os.getuid()}"


def _named() -> Path | None:
    name = os.environ.get("INTRA_SEARCH_CACHE")
    return Path(absolute_path(name)) if name else None
