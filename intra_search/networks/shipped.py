"""Trained networks that come with the package: `shipped:<name>` wherever a checkpoint may be named.

`drawn_roads` is a PSPNet-ResNet-18 of 0.45 of the width, trained on 3000 drawn road scenes (12 families of markings,
80 x 208). Its recipe is search_spaces/drawn_teacher.toml; `make teacher` trains it again. Its folder is a checkpoint
with weights in float16, whose manifest says settings, seed, commit and scores. docs/teacher.md says when to use it.
"""

from pathlib import Path

from intra_search.config.study_file import SHIPPED
from intra_search.errors import CheckpointError
from intra_search.store.storage import Storage

FOLDER = Path(__file__).parent / "shipped"


def is_shipped(uri: str) -> bool:
    """Whether a checkpoint is named that comes with the package."""
    return uri.startswith(SHIPPED)


def checkpoint_storage(uri: str) -> Storage:
    """The checkpoint folder that a URI, a path or `shipped:<name>` names.

    Raises `CheckpointError`, which lists what there is, for an unknown shipped name."""
    if not is_shipped(uri):
        return Storage(uri)
    known = sorted(folder.name for folder in FOLDER.iterdir()) if FOLDER.is_dir() else []
    name = uri.removeprefix(SHIPPED)
    if name not in known:
        listed = ", ".join(SHIPPED + one for one in known)
        raise CheckpointError(uri, "must be a network that comes with the package", repr(name), f"there is: {listed}")
    return Storage(FOLDER / name)
